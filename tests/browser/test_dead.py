"""Dead letters and dead webhooks, replayed from the page."""

from collections.abc import Iterator

import pytest
from kombu import Producer
from playwright.sync_api import Page, expect

from router.queue.broker import Broker
from router.queue.dead_letters import look
from router.queue.lanes import QUEUES
from tests.browser.conftest import SMALL, Console, fits, shot
from tests.receiver import Receiver, receiver
from tests.stack import wait_for

LOGIN = ("dead-test", "a long password")
SECRET = b"\xff your code is 123456"


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """A webhook is given up within a second or two."""
    return {
        "SEEDROUTER_WEBHOOK_ALLOW_PRIVATE": "true",
        "SEEDROUTER_WEBHOOK_TRIES": "2",
        "SEEDROUTER_WEBHOOK_RETRY_SECONDS": "0.2",
        "SEEDROUTER_WEBHOOK_RETRY_MAX_SECONDS": "0.5",
        "SEEDROUTER_WEBHOOK_BREAKER_PAUSE_SECONDS": "0.2",
        "SEEDROUTER_WEBHOOK_BREAKER_PAUSE_MAX_SECONDS": "0.5",
    }


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def put(console: Console, body: bytes) -> None:
    """Something on the lane of codes that no dispatcher can handle."""
    broker = Broker(console.stack.redis_url)
    before = look(broker, 1).count
    with broker.connect() as connection:
        Producer(broker.open_channel(connection)).publish(
            body, routing_key=QUEUES["otp"], content_type="application/json", content_encoding="utf-8"
        )
    wait_for(lambda: look(broker, 1).count > before, "the dead letter")


def reload_until(page: Page, text: str) -> None:
    def there() -> bool:
        page.reload()
        return text in page.inner_text("main")

    wait_for(there, f"{text!r} on the page")


def test_a_dead_webhook(console: Console, there: Receiver) -> None:
    """A receiver that refuses; its webhook is given up, with the last answer; replayed from the page it is delivered."""
    there.answer = lambda told, number: (503 if number <= 2 else 200, {})
    stack = console.stack
    stack.account(name="Kabylie Bank", login=LOGIN[0], password=LOGIN[1])
    hook = {"id": "hook", "url": f"{there.url}/hook", "event": "sms:sent"}
    assert 201 == stack.http.post("/3rdparty/v1/webhooks", auth=LOGIN, json=hook).status_code
    message = {"textMessage": {"text": "hello"}, "phoneNumbers": ["+213661298001"]}
    assert 202 == stack.http.post("/3rdparty/v1/messages", auth=LOGIN, json=message).status_code
    wait_for(lambda: stack.operator("GET", "/webhooks/dead"), "the courier to give up")
    page = console.open("/console/dead")
    row = page.locator("#webhooks tbody tr")

    expect(row).to_have_count(1)
    expect(row).to_contain_text("Kabylie Bank")
    expect(row).to_contain_text("503")
    expect(row).to_contain_text("/hook")
    put(console, SECRET)
    put(console, b'{"id":"wg_01JZ0000000000000000000000","lane":"otp","at":1760000000.5}')
    page.reload()
    shot(page, "dead")
    row.get_by_role("button", name="Try again").click()
    expect(page.locator(".flash")).to_contain_text("is tried again now")
    wait_for(lambda: len(there.told) == 3, "the delivery")
    assert 1 == len(set(there.ids()))
    reload_until(page, "No dead webhooks")


def test_dead_letters(console: Console) -> None:
    """What is no entry is told by length and hash; one is put back and dies again, one is dropped, all are put back."""
    page, broker = console.page, Broker(console.stack.redis_url)
    for letter in look(broker, 100).letters:
        console.stack.operator("DELETE", f"/dead-letters/{letter.id}")
    put(console, SECRET)
    put(console, b'{"id":"wg_01JZ0000000000000000000000","lane":"otp","at":1760000000.5}')
    console.open("/console/dead")
    rows = page.locator("#letters tbody tr")

    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("unknown_message")
    expect(rows.nth(0).get_by_role("link")).to_have_attribute("href", "/console/messages/wg_01JZ0000000000000000000000")
    expect(rows.nth(1)).to_contain_text(f"{len(SECRET)} bytes, SHA-256")
    assert "123456" not in page.content()
    page.on("dialog", lambda dialog: dialog.accept())
    rows.nth(0).get_by_role("button", name="Put back").click()
    expect(page.locator(".flash")).to_contain_text("Back on its lane")
    wait_for(lambda: [2, 1] == [letter.deaths for letter in look(broker, 10).letters], "the second death")
    page.reload()
    rows.filter(has_text="SHA-256").get_by_role("button", name="Drop").click()
    expect(page.locator(".flash")).to_contain_text("Dropped")
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Put all back").click()
    expect(page.locator(".flash")).to_contain_text("1 back on the queue")
    wait_for(lambda: [3] == [letter.deaths for letter in look(broker, 10).letters], "the third death")


def test_gone_meanwhile(console: Console) -> None:
    """A letter that somebody else has dropped: the page says so, and shows what there is."""
    put(console, SECRET)
    page = console.open("/console/dead")
    for letter in look(Broker(console.stack.redis_url), 100).letters:
        console.stack.operator("DELETE", f"/dead-letters/{letter.id}")
    page.locator("#letters tbody tr").first.get_by_role("button", name="Put back").click()

    expect(page.locator(".flash")).to_contain_text("Not put back: no such dead letter")
    expect(page.locator("main")).to_contain_text("No dead letters")


def test_small_and_dark(console: Console) -> None:
    put(console, SECRET)
    page = console.page
    page.set_viewport_size(SMALL)  # type: ignore[arg-type]
    page.emulate_media(color_scheme="dark")
    console.open("/console/dead")

    assert fits(page)
