"""The pages of seeds, in a real browser: who serves, who does not, and what an operator does about it."""

import json
import re
from typing import Any

import segno
from playwright.sync_api import Page, expect

from tests.browser.conftest import DJEZZY, MOBILIS, OOREDOO, SMALL, Console, fits, shot
from tests.stack import TestPhone, wait_for

FIRST, SECOND = f"{MOBILIS}0000000100", f"{MOBILIS}0000000101"
QUIET_ZONE = 4
_READ_CODE = """async () => {
  const svg = document.querySelector("svg.qr");
  const image = new Image();
  image.src = "data:image/svg+xml;base64," + btoa(new XMLSerializer().serializeToString(svg));
  await image.decode();
  const size = svg.viewBox.baseVal.width, scale = 6, canvas = document.createElement("canvas");
  canvas.width = canvas.height = size * scale;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  const at = (x, y) => context.getImageData((x + 0.5) * scale, (y + 0.5) * scale, 1, 1).data;
  return [...Array(size).keys()].map((y) => [...Array(size).keys()].map((x) => {
    const [red, , , alpha] = at(x, y);
    return alpha === 255 ? (red < 128 ? 1 : 0) : -1;
  }));
}"""
"""What a camera would see: 1 = dark, 0 = light, -1 = see-through."""


def row_of(page: Page, imsi: str) -> Any:
    return page.locator(f'tr[data-seed="{imsi}"]')


def seed_of(console: Console, imsi: str) -> dict[str, Any]:
    return dict(console.stack.operator("GET", f"/seeds/{imsi}"))


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()
    expect(page.get_by_role("status")).to_be_visible()


def test_list_search_and_sort(console: Console) -> None:
    """The fleet is filtered by words, carrier and state, and sorted by any column; a number stands in no address."""
    quotas = {"half_hour": 30, "day": 150, "recipients": 90}
    for imsi, change in (
        (FIRST, {"quota": quotas}), (SECOND, {"quota": quotas | {"half_hour": 4}}), (f"{DJEZZY}0000000102", {"draining": True}),
    ):  # fmt: skip
        console.stack.operator("PATCH", f"/seeds/{imsi}", change)
    for _ in range(6):
        console.system.sent_code()
    console.stack.operator("POST", "/seeds", {"imsi": f"{OOREDOO}0000000104"})
    page = console.open("/console/seeds")
    shot(page, "seeds")
    expect(row_of(page, FIRST)).to_contain_text("online")
    expect(row_of(page, FIRST).locator("progress")).to_have_count(3)
    expect(row_of(page, f"{DJEZZY}0000000102")).to_contain_text("draining")
    expect(row_of(page, f"{OOREDOO}0000000104")).to_contain_text("offline")
    none = {"half_hour": 0, "day": 0, "recipients": 0}
    for imsi in console.system.phones:
        console.stack.operator("PATCH", f"/seeds/{imsi}", {"quota": none, "draining": False})
    page.get_by_label("Find").fill("0000000102")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("tr[data-seed]")).to_have_count(1)
    page.get_by_role("link", name="Show all").click()
    page.get_by_label("Find").fill("0661 99 99 01")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("tr[data-seed]")).to_have_count(1)
    expect(row_of(page, SECOND)).to_be_visible()

    assert "9999" not in page.url
    console.open("/console/seeds")
    page.get_by_label("Carrier").select_option(DJEZZY)
    page.get_by_role("button", name="Find").click()
    expect(page.locator("tr[data-seed]")).to_have_count(1)
    console.open("/console/seeds")
    names = page.locator("tr[data-seed]").evaluate_all("rows => rows.map((row) => row.dataset.seed)")
    assert sorted(names) == names
    page.get_by_role("link", name="Seed", exact=True).click()
    expect(page.locator("th[aria-sort=descending]")).to_have_count(1)
    assert sorted(names, reverse=True) == page.locator("tr[data-seed]").evaluate_all("rows => rows.map((row) => row.dataset.seed)")
    page.get_by_role("link", name=re.compile("^online")).click()
    expect(page.locator("tr[data-seed]")).to_have_count(len(names) - 1)


def test_drain_and_undrain(console: Console) -> None:
    """A drained seed gets nothing more, and its messages go to the other one; undrained it serves again."""
    system, page = console.system, console.page
    console.open("/console/seeds")
    page.get_by_role("link", name=FIRST).click()
    press(page, "Drain")
    expect(page.locator("#seed-state")).to_contain_text("draining")
    before = seed_of(console, FIRST)["sent"]
    wait_for(lambda: system.sent_code() and seed_of(console, FIRST)["in_flight"] == 0, "the dispatcher to hear of it")
    seeds = {console.stack.trace(system.sent_code())["attempts"][0]["seed"] for _ in range(8)}

    assert {SECOND} == seeds
    assert seed_of(console, FIRST)["sent"] <= before + 1
    press(page, "End the drain")
    expect(page.locator("#seed-state")).to_contain_text("online")
    wait_for(lambda: console.stack.trace(system.sent_code())["attempts"][0]["seed"] == FIRST, "it to serve again")


def test_disable_and_enable(console: Console) -> None:
    """A carrier whose only seed is disabled has nobody to send: its message waits, until the seed is enabled."""
    system, page = console.system, console.page
    (only,) = (imsi for imsi in system.phones if imsi.startswith(OOREDOO))
    console.open(f"/console/seeds/{only}")
    press(page, "Disable")
    expect(page.locator("#seed-state")).to_contain_text("disabled")
    message_id = system.code("+213541000009")
    wait_for(lambda: console.stack.trace(message_id)["parked_at"], "the message to be parked")

    assert [] == console.stack.trace(message_id)["attempts"]
    press(page, "Enable")
    trace = console.stack.wait_for_state(message_id, "sent")
    assert only == trace["attempts"][0]["seed"]


def test_change(console: Console) -> None:
    """Carrier, pace and quotas are changed as entered; what is wrong is told, and nothing is lost of what was typed."""
    imsi = f"{DJEZZY}0000000777"
    console.stack.operator("POST", "/seeds", {"imsi": imsi})
    page = console.open(f"/console/seeds/{imsi}")
    page.get_by_label("Carrier (MCC+MNC)").fill(MOBILIS)
    page.get_by_label("Per half hour").fill("12")
    page.get_by_label("Per day").fill("150")
    page.get_by_label("Seconds for one part").fill("2.5")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Changed")
    expect(page.locator(".quotas").first).to_contain_text("0/150")
    seed = seed_of(console, imsi)

    assert {"half_hour": 12, "hour": 0, "day": 150} == seed["quota_limits"]
    assert (MOBILIS, 2.5) == (seed["carrier"], seed["pace_seconds"])
    console.allow("422")
    page.get_by_label("Per hour").fill("40")
    page.get_by_label("Recipients a month").fill("many")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("recipients: a whole number")
    expect(page.get_by_label("Per hour")).to_have_value("40")
    assert 0 == seed_of(console, imsi)["quota_limits"]["hour"]


def test_enrol(console: Console) -> None:
    """The token is shown once, as text and as a code that says the same; a phone that has read the code serves. It is in no address."""
    imsi = f"{DJEZZY}0000000888"
    page = console.page
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    console.open("/console/seeds")
    page.get_by_role("link", name="Enrol a seed").click()
    page.get_by_label("IMSI").fill(imsi)
    page.get_by_label("Its own number").fill("+213770000888")
    page.get_by_role("button", name="Enrol").click()
    content = json.loads(page.locator("[data-content]").inner_text())
    token = page.locator("[data-token]").inner_text()
    shot(page, "enrol")
    seen = page.evaluate(_READ_CODE)

    assert {"url": console.url, "imsi": imsi, "token": token} == content
    code = segno.make(page.locator("[data-content]").inner_text(), error="m", micro=False)
    assert [[int(dark) for dark in line] for line in code.matrix_iter(border=QUIET_ZONE)] == seen
    other = f"{DJEZZY}0000000102"
    console.stack.operator("PATCH", f"/seeds/{other}", {"draining": True})
    phone = TestPhone(console.stack.http, content["imsi"], content["token"])
    phone.ping()
    with phone.stays_online():
        message_id = console.system.code("+213770000001")
        (message,) = wait_for(phone.pull, "a message for the new phone")
        phone.report(message, "sent")
        assert [imsi] == [attempt["seed"] for attempt in console.stack.wait_for_state(message_id, "sent")["attempts"]]
    console.stack.operator("PATCH", f"/seeds/{other}", {"draining": False})
    page.get_by_role("link", name="I have it").click()
    expect(page.locator("#seed-state")).to_be_visible()
    assert token not in page.content()
    assert not [address for address in addresses if token in address]
    assert not [cookie for cookie in console.context.cookies() if token in str(cookie)]


def test_enrol_again_asks_first(console: Console) -> None:
    """A seed that has a token is given a new one only by somebody who says so: the old one is void then."""
    imsi = f"{DJEZZY}0000000999"
    old = console.stack.operator("POST", "/seeds", {"imsi": imsi})["token"]
    page = console.open(f"/console/seeds/enrol?imsi={imsi}")
    page.get_by_role("button", name="Enrol").click()
    expect(page.get_by_role("alert")).to_contain_text("enrolled already")
    phone = TestPhone(console.stack.http, imsi, old)

    assert [] == phone.pull()
    page.get_by_label("Give it a new token").check()
    page.get_by_role("button", name="Enrol").click()
    new = page.locator("[data-token]").inner_text()
    refused = console.stack.http.get(f"/seeds/{imsi}/messages?wait=0", headers={"Authorization": f"Bearer {old}"})
    assert 401 == refused.status_code
    assert [] == TestPhone(console.stack.http, imsi, new).pull()
    console.allow("422")
    console.open("/console/seeds/enrol")
    page.get_by_label("IMSI").fill("modem-1")
    page.get_by_role("button", name="Enrol").click()
    expect(page.get_by_role("alert")).to_contain_text("carrier")
    expect(page.get_by_label("IMSI")).to_have_value("modem-1")


def test_a_phone_dies_live(console: Console) -> None:
    """A phone loses its power while somebody looks: its row turns offline without the page being loaded again, and no other does."""
    dying = console.system.phone(f"{MOBILIS}0000000555")
    page = console.open("/console/seeds")
    expect(row_of(page, dying.imsi)).to_contain_text("online")
    page.evaluate("window.notReloaded = true")
    dying.die()

    expect(row_of(page, dying.imsi)).to_contain_text("offline")
    expect(row_of(page, FIRST)).to_contain_text("online")
    assert page.evaluate("window.notReloaded")
    expect(page.get_by_role("link", name=re.compile("^offline"))).to_be_visible()


def test_failures_trip_and_are_forgotten(console: Console) -> None:
    """A seed that fails is shown tripped, with what was taken from it and why; its breaker is closed by hand. A test goes by it alone."""
    system, page = console.system, console.page
    imsi = f"{OOREDOO}0000000666"
    failing = system.phone(imsi, answer="failed", msisdn="+213541000666")
    others = [other for other in system.phones if other.startswith(OOREDOO) and other != imsi]
    for other in others:
        console.stack.operator("PATCH", f"/seeds/{other}", {"draining": True})
    messages = [system.code(f"+21354100010{place}") for place in range(2)]
    wait_for(lambda: seed_of(console, imsi)["consecutive_failures"] >= 2, "it to fail twice")
    console.open(f"/console/seeds/{imsi}")
    expect(page.locator("#seed")).to_contain_text("RESULT_ERROR_GENERIC_FAILURE")
    expect(page.get_by_role("link", name=messages[0]).first).to_be_visible()
    shot(page, "seed")
    for other in others:
        console.stack.operator("PATCH", f"/seeds/{other}", {"draining": False})
    for message_id in messages:
        console.stack.wait_for_state(message_id, "sent")
    failing.answer = "sent"
    press(page, "Forget its failures")
    expect(page.locator("#seed-state")).to_contain_text("online")

    assert 0 == seed_of(console, imsi)["consecutive_failures"]
    press(page, "Run a reliability test")
    expect(page.locator("#seed")).to_contain_text("success")
    (test,) = console.stack.operator("GET", f"/seeds/{imsi}/tests")
    assert "success" == test["status"]
    failing.die()


def test_small_screen(console: Console) -> None:
    """At 360 px nothing sticks out, and all is reached by the keyboard."""
    page = console.page
    page.set_viewport_size(SMALL)  # type: ignore[arg-type]
    for path in ("/console/seeds", f"/console/seeds/{FIRST}", "/console/seeds/enrol"):
        console.open(path)
        assert fits(page), path
    console.open("/console/seeds")
    page.get_by_label("Find").focus()
    page.keyboard.type(FIRST)
    page.keyboard.press("Enter")
    expect(page.locator("tr[data-seed]")).to_have_count(1)
    page.get_by_role("link", name=FIRST).focus()
    with page.expect_response(lambda response: response.request.headers.get("hx-request") == "true"):
        pass
    # What was in focus is in focus still after its part has renewed itself
    expect(page.get_by_role("link", name=FIRST)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{console.url}/console/seeds/{FIRST}")


def test_wrong_addresses(console: Console) -> None:
    """A page says what is wrong."""
    console.allow("422|404")
    for path, told in (
        ("/nobody", "no such seed"), ("?status=lost", "not one of those"), ("?sort=hash", "not one of those"), ("?offset=-1", "0 to"),
        ("?find=x", "search again"),
    ):  # fmt: skip
        console.open(f"/console/seeds{path}")

        expect(console.page.get_by_role("alert")).to_contain_text(told)
