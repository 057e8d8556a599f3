"""Blocks of prefixes by hand, and what they do."""

import httpx
from playwright.sync_api import expect

from tests.browser.conftest import SMALL, Console, fits, shot
from tests.stack import wait_for

_PREFIX = "+21366129"


def send(console: Console, phone: str) -> httpx.Response:
    return console.stack.http.post(
        "/api/v1/send-otp", json={"phone": phone}, headers={"Authorization": f"Bearer {console.system.account['key']}"}
    )


def test_block_and_lift(console: Console) -> None:
    """Codes to the prefix are refused while it is blocked, others go; lifted, they go again."""
    assert 200 == send(console, f"{_PREFIX}7001").status_code
    for number in range(5):
        console.system.sent_code(f"+21366128000{number}")
    page = console.open("/console/fraud")
    expect(page.locator("main")).to_contain_text("No prefix is blocked")
    page.get_by_label("Numbers that begin with").fill(_PREFIX)
    page.get_by_label("For", exact=True).select_option("an hour")
    page.get_by_label("Why").fill("pumping, seen by <eye>")
    page.get_by_role("button", name="Block").click()
    expect(page.locator(".flash")).to_contain_text(f"{_PREFIX} is blocked")
    row = page.locator("#blocks tbody tr")

    expect(row).to_contain_text("pumping, seen by <eye>")
    expect(row).to_contain_text("blocked")
    expect(row).to_contain_text("Mobilis")
    wait_for(lambda: send(console, f"{_PREFIX}7002").status_code != 200, "the block to be known")
    refused = send(console, f"{_PREFIX}7003")
    assert (503, False) == (refused.status_code, "pumping" in refused.text)
    assert 200 == send(console, "+213661280099").status_code
    wait_for(lambda: page.reload() and page.locator("#prefixes").count(), "the prefix to be judged")
    expect(page.locator("#prefixes")).to_contain_text("+21366128")
    shot(page, "fraud")
    page.on("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Lift").click()
    expect(page.locator(".flash")).to_contain_text("is free")
    expect(row).to_contain_text("lifted")
    wait_for(lambda: send(console, f"{_PREFIX}7004").status_code == 200, "the block to be forgotten")


def test_what_is_no_prefix(console: Console) -> None:
    """It says what it takes, and keeps what was typed."""
    console.allow("422")
    page = console.open("/console/fraud")
    page.get_by_label("Numbers that begin with").fill("Mobilis")
    page.get_by_label("Why").fill("because")
    page.get_by_role("button", name="Block").click()

    expect(page.get_by_role("alert")).to_contain_text("a country code")
    expect(page.get_by_label("Why")).to_have_value("because")


def test_small_and_dark(console: Console) -> None:
    page = console.page
    page.set_viewport_size(SMALL)  # type: ignore[arg-type]
    page.emulate_media(color_scheme="dark")
    console.open("/console/fraud")

    assert fits(page)
