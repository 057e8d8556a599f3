"""The page of phones with SMSGate's app, in a real browser."""

import httpx
import pytest
from playwright.sync_api import expect

from tests.app import App, private_token
from tests.browser.conftest import DJEZZY, SMALL, Console, fits, shot
from tests.stack import wait_for

SIMS = (
    {"slotIndex": 0, "simNumber": 1, "phoneNumber": "+213661999999", "carrierName": "Mobilis"},
    {"slotIndex": 1, "simNumber": 2, "carrierName": "My SIM"},
)  # fmt: skip


@pytest.fixture
def app(console: Console) -> App:
    return App(console.stack, *SIMS)


def test_a_phone_comes_and_goes(console: Console, app: App) -> None:
    """A phone that registers is shown with its SIMs; its stream is open, then closed, without the page being loaded again."""
    page = console.open("/console/devices")
    row = page.locator(f'tr[data-device="{app.id}"]')
    expect(row).to_contain_text("test phone")
    expect(row).to_contain_text("no carrier")
    app.listen()
    expect(row.locator("td").nth(2)).to_contain_text("open")
    shot(page, "devices")
    page.evaluate("window.notReloaded = true")
    app.hang_up()
    expect(row.locator("td").nth(2)).to_contain_text("closed")

    assert page.evaluate("window.notReloaded")
    row.get_by_role("link", name="SIM 2").click()
    page.get_by_label("Carrier (MCC+MNC)").fill(DJEZZY)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Changed")
    assert DJEZZY == console.stack.operator("GET", f"/seeds/{app.id}.2")["carrier"]
    page.get_by_role("link", name=app.id).click()
    expect(page.locator("tr[data-device]")).to_have_count(1)
    expect(row).to_contain_text("Djezzy")
    console.allow("422")
    console.open(f"/console/seeds/enrol?imsi={app.id}.2")
    page.get_by_role("button", name="Enrol").click()
    expect(page.get_by_role("alert")).to_contain_text("the phone itself has a token")


def test_the_private_token_is_shown_on_demand(console: Console) -> None:
    """The token stands on no page until it is asked for, and in no address."""
    token = private_token(console.stack)
    page = console.page
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    console.open("/console/devices")

    assert token not in page.content()
    page.get_by_role("button", name="Show it").click()
    expect(page.locator("[data-token]")).to_have_text(token)
    expect(page.get_by_text("/mobile/v1")).to_be_visible()
    assert not [address for address in addresses if token in address]
    page.goto(page.url)
    expect(page.get_by_role("button", name="Show it")).to_be_visible()
    assert token not in page.content()


def test_remove(console: Console, app: App) -> None:
    """A phone is removed after a question; it hears 401, and its SIMs are nobody's."""
    page = console.open(f"/console/devices?q={app.id}.1")
    page.get_by_role("link", name="Remove…").click()
    expect(page.get_by_text("hears 401")).to_be_visible()

    assert 200 == app.http.get("/message", params={"order": "lifo"}).status_code
    page.get_by_role("button", name="Remove the phone").click()
    expect(page.get_by_role("status")).to_contain_text("Removed")
    wait_for(lambda: app.http.get("/message", params={"order": "lifo"}).status_code == httpx.codes.UNAUTHORIZED, "the phone to hear 401")
    assert app.id not in [device["id"] for device in console.stack.operator("GET", "/devices")]
    assert console.stack.operator("GET", f"/seeds/{app.id}.1")["enrolled"] is False


def test_small_screen(console: Console, app: App) -> None:
    """At 360 px nothing sticks out."""
    page = console.page
    page.set_viewport_size(SMALL)  # type: ignore[arg-type]
    for path in ("/console/devices", f"/console/devices/{app.id}/remove", f"/console/seeds/{app.id}.2"):
        console.open(path)
        assert fits(page), path
