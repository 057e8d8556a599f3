"""The pages of messages, in a real browser: what an operator asks when somebody says that no code came."""

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MOBILIS, OOREDOO, SMALL, Console, fits, shot
from tests.stack import wait_for

FAILING = f"{MOBILIS}0000009001"


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Who breaks down keeps getting messages, so that a failover comes about."""
    return {"SEEDROUTER_BREAKER_FAILURES": "1000", "SEEDROUTER_CHOICES": "20"}


def drain(console: Console, carrier: str, *, is_over: bool = False) -> None:
    """No phone of that carrier is given anything, until it is over."""
    for imsi in console.system.phones:
        if imsi.startswith(carrier):
            console.stack.operator("PATCH", f"/seeds/{imsi}", {"draining": not is_over})


def test_find_by_number_and_see_the_failover(console: Console) -> None:
    """Whatever way the number is written, its message is found, and its page tells the failover with reasons and times; the number stands
    in no address and nowhere on the page.
    """
    system, page = console.system, console.page
    drain(console, MOBILIS)
    failing = system.phone(FAILING, answer="failed")
    number = "+213661777001"
    message_id = system.code(number)
    wait_for(lambda: console.stack.trace(message_id)["attempts"], "a first attempt")
    wait_for(lambda: console.stack.trace(message_id)["attempts"][0]["state"] == "failed", "it to fail")
    drain(console, MOBILIS, is_over=True)
    console.stack.operator("PATCH", f"/seeds/{FAILING}", {"draining": True})
    trace = console.stack.wait_for_state(message_id, "sent")
    failing.die()
    for _ in range(8):
        system.sent_code()

    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url + str(request.headers)))
    console.open("/console/messages")
    shot(page, "messages")
    page.get_by_label("Find").fill("0661 77-70.01")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("link", name=message_id)).to_be_visible()
    expect(page.get_by_text("Messages to +2136*****01")).to_be_visible()
    assert 1 == page.locator("#messages tbody tr").count()
    # The live part asks for the same address again
    with page.expect_response(lambda response: "find=" in response.url and response.request.headers.get("hx-request") == "true"):
        pass
    page.get_by_role("link", name=message_id).click()
    journey = page.locator("#journey")
    expect(journey.get_by_text("RESULT_ERROR_GENERIC_FAILURE").first).to_be_visible()
    shot(page, "message")

    steps = journey.locator("tr.step")
    assert len(trace["attempts"]) == len(journey.locator("svg.track").all())
    words = [" ".join(step.inner_text().split()) for step in steps.all()]
    sender = trace["attempts"][-1]["seed"]
    assert any("accepted" in step and "gatewire" in step for step in words)
    assert any("assigned" in step and FAILING in step and "score" in step for step in words)
    assert any("failed" in step and f"attempt 2 goes to {trace['attempts'][1]['seed']}" in step for step in words)
    assert any("sent" in step and sender in step for step in words)
    assert f"{trace['attempts'][0]['ended_at'] - trace['message']['created_at']:+.3f} s" in " ".join(words)
    assert "661777001" not in page.content()
    assert not [address for address in addresses if re.search("661.{0,3}77.{0,3}70.{0,3}01", address)]


def test_find_by_id(console: Console) -> None:
    """An id leads to the message itself; also as a phone of SMSGate's app knows it, with the attempt's number."""
    message_id = console.system.code()
    for words in (message_id, f"  {message_id} ", f"{message_id}_1"):
        page = console.open("/console/messages")
        page.get_by_label("Find").fill(words)
        page.get_by_role("button", name="Find").click()

        expect(page).to_have_url(f"{console.url}/console/messages/{message_id}")


def test_find_by_what_a_client_knows(console: Console) -> None:
    """The Idempotency-Key of a request leads to its message; the id of a submission to all of its messages; nonsense is told to be it."""
    stack, page = console.stack, console.page
    account = console.system.account["id"]
    body = {"account": account, "phone": "+213661777002"}
    answer = stack.http.post(
        "/operator/v1/messages", json=body, headers={"Authorization": f"Bearer {stack.operator_token}", "Idempotency-Key": "order 4711"}
    )
    owner = stack.account(name="shop", login="shop", password="correct horse")
    sent = {"id": "client-ref-1", "phoneNumbers": ["+213661777003", "+213661777004"], "textMessage": {"text": "hello"}}
    assert 202 == stack.http.post("/3rdparty/v1/messages", json=sent, auth=("shop", "correct horse")).status_code
    console.open("/console/messages")
    page.get_by_label("Find").fill("order 4711")
    page.get_by_role("button", name="Find").click()
    expect(page).to_have_url(f"{console.url}/console/messages/{answer.json()['id']}")
    console.open("/console/messages")
    page.get_by_label("Find").fill("client-ref-1")
    page.get_by_role("button", name="Find").click()

    expect(page.get_by_text("Messages of the submission client-ref-1")).to_be_visible()
    expect(page.locator("#messages tbody tr")).to_have_count(2)
    assert "client-ref-1" not in page.url
    page.get_by_label("Account").fill(owner["name"])
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#messages tbody tr")).to_have_count(2)
    console.allow("status 422|status of 422")
    page.get_by_label("Find").fill("no-such-thing")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("alert")).to_contain_text("no message, submission or Idempotency-Key is known by that")
    expect(page.get_by_label("Find")).to_have_value("no-such-thing")


def test_live_from_pending_to_sent(console: Console) -> None:
    """A page that is open on a message shows it become sent, with its seed, and is not loaded again for that; then it asks no more."""
    system, page = console.system, console.page
    lonely = "+213541000001"
    drain(console, OOREDOO)
    message_id = system.code(lonely)
    console.open(f"/console/messages/{message_id}")
    state = page.locator("#journey dd").first
    expect(state).to_contain_text("pending")
    expect(page.locator("#journey")).to_contain_text("parked")
    page.evaluate("window.notReloaded = true")
    drain(console, OOREDOO, is_over=True)
    expect(state).to_contain_text("sent")
    expect(page.locator("tr.step", has_text="given to the radio")).to_have_count(1)

    assert page.evaluate("window.notReloaded")
    code_is_wrong = console.stack.operator("POST", f"/messages/{message_id}/cancel")
    assert "expired" == code_is_wrong["message"]["state"]
    with page.expect_response(lambda response: response.status == 286):
        expect(state).to_contain_text("expired")


def test_cancel(console: Console) -> None:
    """A message that waits is cancelled after a question, its charge given back; one that is over cannot be cancelled again."""
    system, page = console.system, console.page
    drain(console, OOREDOO)
    before = console.stack.operator("GET", f"/accounts/{system.account['id']}")["balance"]
    message_id = system.code("+213541000002")
    console.open(f"/console/messages/{message_id}")
    page.get_by_role("link", name="Cancel…").click()
    expect(page.get_by_text("its charge is given back")).to_be_visible()

    assert "pending" == console.stack.state(message_id)
    page.get_by_role("button", name="Cancel the message").click()
    expect(page.get_by_role("status")).to_contain_text("no seed will send it")
    assert "cancelled" == console.stack.state(message_id)
    wait_for(lambda: console.stack.operator("GET", f"/accounts/{system.account['id']}")["balance"] == before, "the charge to be given back")
    expect(page.locator("#journey")).to_contain_text("given back")
    expect(page.get_by_role("link", name="Cancel…")).to_have_count(0)
    drain(console, OOREDOO, is_over=True)


def test_filters_and_paging(console: Console) -> None:
    """State and account narrow the list, and each message is on one page only."""
    system, page = console.system, console.page
    made = {system.sent_code() for _ in range(3)}
    console.open(f"/console/messages?status=sent&limit=2&account={system.account['id']}")
    seen: list[str] = []
    for _ in range(100):
        seen += page.locator("#messages tbody tr td:nth-child(2)").all_inner_texts()
        if not page.locator("#older").count():
            break
        page.locator("#older").click()
        page.wait_for_load_state()

    assert made <= set(seen)
    assert len(set(seen)) == len(seen)
    listed = console.stack.operator("GET", "/messages", account=system.account["id"], state="sent", limit=500)
    assert [message["id"] for message in listed] == seen


def test_small_screen_and_no_script(console: Console) -> None:
    """At 360 px nothing sticks out; without scripts a message is found, looked at and cancelled all the same."""
    system, page = console.system, console.page
    drain(console, OOREDOO)
    message_id = system.code("+213541000003")
    page.set_viewport_size(SMALL)  # type: ignore[arg-type]
    for path in ("/console/messages", f"/console/messages/{message_id}", f"/console/messages/{message_id}/cancel"):
        console.open(path)
        assert fits(page), path

    browser = console.context.browser
    assert browser is not None
    plain = browser.new_context(java_script_enabled=False)
    try:
        plain.add_cookies(console.context.cookies())  # type: ignore[arg-type]
        page = plain.new_page()
        page.goto(f"{console.url}/console/messages")
        page.get_by_label("Find").fill("00213 541 00 00 03")
        page.get_by_label("Find").press("Enter")
        page.get_by_role("link", name=message_id).click()
        page.get_by_role("link", name="Cancel…").click()
        page.get_by_role("button", name="Cancel the message").click()
        expect(page.get_by_role("status")).to_contain_text("cancelled")

        assert "cancelled" == console.stack.state(message_id)
        assert urlsplit(page.url).path == f"/console/messages/{message_id}"
    finally:
        plain.close()
        drain(console, OOREDOO, is_over=True)


def test_wrong_addresses(console: Console) -> None:
    """A page says what is wrong."""
    console.allow("422|404")
    for path, told in (
        ("?find=nonsense", "search again"), ("?before=x", "not a place"), ("?status=lost", "not a message"),
        ("/wg_nothing", "no such message"),
    ):  # fmt: skip
        console.open(f"/console/messages{path}")

        expect(console.page.get_by_role("alert")).to_contain_text(told)
