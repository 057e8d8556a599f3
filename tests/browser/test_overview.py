"""The overview, in a real browser, of a router that works."""

import random
import re

import msgspec
import pytest
import redis
from playwright.sync_api import Page, expect
from ulid import ULID

from router.domain.lifecycle import FailoverReason
from router.domain.numbering import mask
from router.domain.statistics import FAILOVERS, FLOW, Failover, flow_field, within
from router.store.statistics import StatisticsStore
from tests.browser.conftest import DJEZZY, MOBILIS, OOREDOO, SMALL, Console, System, fits, shot
from tests.stack import wait_for


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Each carrier's messages wait for its own seeds."""
    return {"SEEDROUTER_CROSS_CARRIER": "false", "SEEDROUTER_ACCEPT_WHEN": "always"}


def carrier_row(page: Page, carrier: str) -> dict[str, str]:
    """The carriers' table's row, by column."""
    names = page.locator("#carriers thead th").all_text_contents()
    cells = page.locator(f"#carriers tr[data-carrier='{carrier}'] > *").all_inner_texts()
    return dict(zip(names, cells, strict=True))


def figure(page: Page, name: str) -> str:
    """The figure of that name, with the small words below it."""
    return page.locator(".figures > div", has=page.locator("dt", has_text=re.compile(f"^{re.escape(name)}$"))).locator("dd").inner_text()


def fill_the_hour(system: System) -> None:
    """An hour of traffic, as the roles would have counted it."""
    drawn = random.Random(6)
    redis_url = system.stack.redis_url
    now = int(system.stack.http.get("/operator/v1/flow?minutes=1", headers=_operator(system)).json()["now"])
    with redis.Redis.from_url(redis_url) as client:
        # And the running minute and the next: it may turn while a test looks
        for ago in range(60, -2, -1):
            start = (now // 60 - ago) * 60
            key = StatisticsStore.bucket_key(FLOW, start)
            for carrier, usual in ((MOBILIS, 90), (DJEZZY, 60), (OOREDOO, 30)):
                accepted = round(usual * drawn.uniform(0.85, 1.15))
                moved = 12 if 20 < ago < 27 and carrier == DJEZZY else drawn.choice((0, 0, 0, 1))
                sent = accepted - drawn.randrange(5)
                counts = {"accepted": accepted, "dispatched": accepted, "sent": sent, "codes_sent": sent, "failovers": moved}
                counts |= {"verified": round(sent * drawn.uniform(0.86, 0.95)), within(5.0): moved, within(0.4): sent - moved - 9}
                counts |= {within(1.5): 9}
                client.hset(key, mapping={flow_field(carrier, name): n for name, n in counts.items()})
                for number in range(moved if ago > 0 else 0):
                    client.lpush(StatisticsStore.stream_key(FAILOVERS), _failover(drawn, start + 5 * number, carrier))


def _failover(drawn: random.Random, at: float, carrier: str) -> bytes:
    reason: FailoverReason = drawn.choice(("failed", "failed", "silent", "unfetched"))
    return msgspec.msgpack.encode(Failover(
        at=at, message=f"wg_{ULID.from_timestamp(float(at))}", to=mask(f"+2137712{drawn.randrange(10**5):05d}"), carrier=carrier,
        seed=f"{carrier}0000000102", reason=reason, error="RESULT_ERROR_NO_SERVICE" if reason == "failed" else None, attempt=1,
    ))  # fmt: skip


def _operator(system: System) -> dict[str, str]:
    return {"Authorization": f"Bearer {system.stack.operator_token}"}


def test_figures_follow(console: Console) -> None:
    """Codes go through while the page is open: its figures and carriers follow, without a reload."""
    page = console.page
    page.evaluate("window.isTheSame = true")

    expect(page.locator("#carriers tbody tr")).to_have_count(3)
    expect(page.locator(f"#carriers tr[data-carrier='{MOBILIS}'] [data-online]")).to_have_text("2")
    for _ in range(5):
        console.system.code()
    console.system.sent_code("+213771200001")
    expect(page.locator(".figures")).to_contain_text("6 in the last hour")
    expect(page.locator(f"#carriers tr[data-carrier='{DJEZZY}']")).to_contain_text("serving")
    assert page.evaluate("window.isTheSame")
    wait_for(lambda: "–" not in figure(page, "Time to sent, p95"), "the time to sent")
    assert "0" == figure(page, "Dead letters").split()[0]


def test_phone_dies(console: Console) -> None:
    """A phone takes a code and dies: its carrier's online count goes down, a failover row appears, says why, and leads to the message."""
    system, page = console.system, console.page
    page.evaluate("window.isTheSame = true")
    phone = system.phone(f"{OOREDOO}0000000200", answer="silent")
    expect(page.locator(f"#carriers tr[data-carrier='{OOREDOO}'] [data-online]")).to_have_text("2")
    wait_for(lambda: _takes_one(system, phone.imsi), "the phone that will die to take a code")
    phone.die()

    expect(page.locator(f"#carriers tr[data-carrier='{OOREDOO}'] [data-online]")).to_have_text("1")
    row = page.locator("#failovers tbody tr", has_text=phone.imsi).first
    expect(row).to_contain_text("went silent")
    expect(row).to_contain_text("+2135*****")
    assert page.evaluate("window.isTheSame")
    message_id = row.locator("td.mono a").first.inner_text()
    assert f"/console/messages/{message_id}" == row.locator("td.mono a").first.get_attribute("href")
    assert "sent" == system.stack.wait_for_state(message_id, "sent")["message"]["state"]


def _takes_one(system: System, imsi: str) -> bool:
    """Sends a code to its carrier; is it this phone that has it?"""
    message_id = system.code(f"+2135512{random.randrange(10**5):05d}")
    attempts = wait_for(lambda: system.stack.trace(message_id)["attempts"], "an attempt")
    wait_for(lambda: system.stack.trace(message_id)["attempts"][0]["state"] != "assigned", "the phone to fetch it")
    # One that was slow for once is another failover than the test is about
    return bool(attempts[0]["seed"] == imsi and system.stack.trace(message_id)["attempts"][0]["handed_at"])


def test_rests_in_the_background(console: Console) -> None:
    """Paused, or in a tab that nobody sees, the page asks for nothing and says so; resumed, it is up to date at once."""
    page = console.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#as-of")).to_contain_text("Paused")
    page.wait_for_timeout(300)
    asked.clear()
    page.wait_for_timeout(2500)

    assert [] == asked
    with page.expect_response("**/console/overview/live"):
        page.get_by_role("button", name="Resume").click()
    expect(page.locator("#as-of")).not_to_contain_text("Paused")
    page.evaluate("""() => {
        Object.defineProperty(document, "hidden", { get: () => true, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }""")
    expect(page.locator("#as-of")).to_contain_text("Paused")
    page.wait_for_timeout(300)
    asked.clear()
    page.wait_for_timeout(2500)
    assert [] == asked


def test_warns_in_words(console: Console) -> None:
    """What an operator has to know first stands on top, while it is so: messages that wait, and no seed for them."""
    system, page = console.system, console.page
    warned = page.locator(".warnings")
    for phone in system.phones.values():
        if phone.imsi.startswith(OOREDOO):
            phone.die()
    expect(page.locator(f"#carriers tr[data-carrier='{OOREDOO}']")).to_contain_text("no seed online")
    message_id = system.code("+213551299999")
    expect(warned).to_contain_text("Ooredoo has no seed: 1 message waits, and none of its seeds is online.")
    expect(warned.get_by_role("link", name="Seeds")).to_have_attribute("href", f"/console/seeds?q={OOREDOO}")
    system.phone(f"{OOREDOO}0000000201")
    system.stack.wait_for_state(message_id, "sent")

    expect(warned).to_have_count(0)


def test_session_ends_under_an_open_page(console: Console) -> None:
    """A page that renews itself leads to the login when its session is over, instead of showing old figures for ever."""
    console.allow("status (401)|status of 401")
    with redis.Redis.from_url(console.stack.redis_url) as client:
        for key in client.scan_iter("console:{sessions}:*"):
            client.delete(key)

    expect(console.page).to_have_url(re.compile("/console/login"))


def test_keyboard_alone(console: Console) -> None:
    """Tab goes to everything that can be pressed, in the page's order, the focus can be seen, and it survives the page's renewal."""
    page = console.page
    expect(page.locator("#carriers tbody tr").first).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    reached, shown = [], []
    for _ in range(60):
        page.keyboard.press("Tab")
        where = page.evaluate("""() => {
            const on = document.activeElement, style = getComputedStyle(on);
            const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
            return [(on.textContent || "").trim().slice(0, 30), seen, on.id, on === document.body];
        }""")
        if where[3]:
            break
        reached.append(where[0])
        shown.append(where[1])

    assert "Skip to the content" == reached[0]
    sections = ["Overview", "Messages", "Seeds", "Devices", "Accounts", "Dead letters", "Fraud", "Sign out", "Pause"]
    assert sections == [text for text in reached if text in sections][: len(sections)]
    assert {"Mobilis", "The last hour as a table"} <= set(reached)
    assert all(shown)
    page.locator(f"#carrier-{MOBILIS}").focus()
    with page.expect_response("**/console/overview/live"):
        pass
    page.wait_for_timeout(300)
    assert f"carrier-{MOBILIS}" == page.evaluate("document.activeElement.id")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/console/seeds.*{MOBILIS}"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_plots_and_looks(console: Console, scheme: str) -> None:
    """The plots of the last hour, their figures as a table; in light and dark, on a desk and at 360 px."""
    fill_the_hour(console.system)
    page = console.page
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    console.open("/console")
    expect(page.locator(".figures")).to_contain_text(re.compile(r"\d,\d{3} in the last hour"))
    expect(page.locator("#carriers tbody tr", has_text="serving")).to_have_count(3)
    console.open("/console")
    legend = page.locator("[data-plot=flow] .u-legend")
    expect(legend).to_contain_text(re.compile(r"Accepted\s*[12]\d\d"))
    # How many rows of a plot's points have the ink of a line: more than a flat one has, which is what a plot without data shows
    heights = page.evaluate("""() => [...document.querySelectorAll("[data-plot] canvas")].map((canvas) => {
        const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const rows = new Set();
        const isInk = (i) => {
            const rgb = data.slice(i, i + 3);
            return data[i + 3] > 200 && Math.max(...rgb) - Math.min(...rgb) > 60;
        };
        for (let i = 0; i < data.length; i += 4) if (isInk(i)) rows.add(Math.floor(i / 4 / width));
        return rows.size;
    })""")

    assert 3 == len(heights)
    assert min(heights) > 10
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (scheme == "dark") == (sum(map(int, re.findall(r"\d+", background))) < 200)
    if scheme == "light":
        shot(page, "overview")
    page.set_viewport_size(SMALL)  # type: ignore[arg-type]
    expect(page.locator("summary", has_text="Menu")).to_be_visible()
    assert fits(page)
    page.locator("summary", has_text="Menu").click()
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.get_by_role("link", name="The last hour as a table").click()
    expect(page.locator("#flow tbody tr")).to_have_count(60)
    assert fits(page)
    assert re.search(r"1[0-9][0-9]", page.locator("#flow tbody tr").nth(5).inner_text())


def test_works_without_scripts(console: Console) -> None:
    """With scripts off the page shows the same figures, and a link that makes it anew."""
    context = console.context.browser
    assert context is not None
    plain = context.new_context(java_script_enabled=False)
    try:
        plain.add_cookies(console.context.cookies())  # type: ignore[arg-type]
        page = plain.new_page()
        page.goto(f"{console.url}/console")
        row = carrier_row(page, MOBILIS)
        page.get_by_role("link", name="Reload").click()

        assert "2" == row["Online"]
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    finally:
        plain.close()


def test_flow_as_json(console: Console) -> None:
    """The plots' figures: a point a minute, the running one left out."""
    fill_the_hour(console.system)
    body = console.page.evaluate("fetch('/console/flow.json').then((answer) => answer.text())")
    points = msgspec.json.decode(body)

    assert 60 == len(points["at"]) == len(points["sent"]) == len(points["p95"])
    assert {60.0} == {after - before for before, after in zip(points["at"], points["at"][1:], strict=False)}
    assert 100 < points["sent"][-1] < 250
