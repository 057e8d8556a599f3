"""The seed API: how an enrolled seed of our own protocol fetches messages and reports (design.md, The seed API)."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.conformance.conftest import bearer, code_in, new_number, send_out, take
from tests.stack import Stack, TestPhone, wait_for

LEASE_SECONDS = 12.0
NewPhone = Callable[..., TestPhone]
Submit = Callable[..., str]


@pytest.fixture
def submit(stack: Stack, new_account: Callable[..., dict[str, Any]]) -> Submit:
    """Submits a code to a new number of Mobilis; answers its id."""
    key = new_account()["key"]

    def submit(phone: str | None = None) -> str:
        answer = stack.http.post("/api/v1/send-otp", json={"phone": phone or new_number()}, headers=bearer(key))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["reference_id"])

    return submit


def reports(stack: Stack, phone: TestPhone, *told: dict[str, Any]) -> dict[str, Any]:
    answer = stack.http.post(f"/seeds/{phone.imsi}/reports", json=told, headers=bearer(phone.token))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def told(message: dict[str, Any], state: str, **more: Any) -> dict[str, Any]:
    return {"id": message["id"], "attempt": message["attempt"], "state": state} | more


def take_all(phone: TestPhone, *ids: str) -> list[dict[str, Any]]:
    """These messages, in this order, whichever pull brings them."""
    found: dict[str, dict[str, Any]] = {}

    def pull() -> bool:
        found.update({message["id"]: message for message in phone.pull(wait=0.5)})
        return found.keys() >= set(ids)

    wait_for(pull, "all messages at the phone")
    return [found[message_id] for message_id in ids]


def open_long_poll(stack: Stack, phone: TestPhone, wait: int = 20) -> socket.socket:
    """A long-poll as bytes, that nobody reads."""
    connection = socket.create_connection(("127.0.0.1", stack.port), timeout=10)
    request = f"GET /seeds/{phone.imsi}/messages?wait={wait} HTTP/1.1\r\nHost: router\r\nAuthorization: Bearer {phone.token}\r\n\r\n"
    connection.sendall(request.encode())
    return connection


# Fetching


def test_a_long_poll_answers_as_soon_as_there_is_a_message(submit: Submit, phone: TestPhone) -> None:
    with ThreadPoolExecutor(1) as pool:
        polled = pool.submit(lambda: (phone.pull(wait=20), time.monotonic()))
        time.sleep(1.0)
        began = time.monotonic()
        number = new_number()
        message_id = submit(number)
        messages, answered = polled.result()

    # Long before its wait of 20 s is over
    assert answered - began < 10.0
    assert [message["id"] for message in messages] == [message_id]
    assert list(messages[0]) == ["id", "attempt", "to", "text", "valid_until"]
    assert (messages[0]["attempt"], messages[0]["to"]) == (1, number)
    assert code_in(messages[0])


@pytest.mark.parametrize("wait", [0.0, 1.0])
def test_nothing_after_the_wait(phone: TestPhone, wait: float) -> None:
    began = time.monotonic()
    messages = phone.pull(wait=wait)

    assert messages == []
    # And long before the wait that is taken where none is asked for
    assert wait <= time.monotonic() - began < wait + 10


def test_at_most_max_messages_the_oldest_first(submit: Submit, phone: TestPhone, stack: Stack) -> None:
    ids = []
    for _ in range(3):
        ids.append(submit())
        wait_for(lambda: stack.state(ids[-1]) == "dispatched", "the message to be in the outbox")
    pulled = [[message["id"] for message in phone.pull(wait=1, limit=limit)] for limit in (1, 50, 50)]

    assert pulled == [ids[:1], ids[1:], []]


@pytest.mark.parametrize(
    "query", ["wait=-1", "wait=nan", "wait=x", "wait=", "max=0", "max=-1", "max=1.5", "max=x", "max=%D9%A3", "max=" + "9" * 10_000]
)
def test_odd_parameters_are_422_by_their_name(stack: Stack, phone: TestPhone, query: str) -> None:
    answer = stack.http.get(f"/seeds/{phone.imsi}/messages?{query}", headers=bearer(phone.token))

    assert answer.status_code == 422
    assert answer.json()["error"].startswith(query.split("=", maxsplit=1)[0])


@pytest.mark.parametrize("query", ["wait=0&max=99999999999999999999", "wait=0&x=y", "wait=0e5&max=7"])
def test_large_parameters_mean_as_much_as_there_may_be(stack: Stack, phone: TestPhone, query: str) -> None:
    answer = stack.http.get(f"/seeds/{phone.imsi}/messages?{query}", headers=bearer(phone.token))

    assert (answer.status_code, answer.json()) == (200, [])


def test_handing_over_starts_the_lease(submit: Submit, phone: TestPhone, stack: Stack) -> None:
    """Before it there is none; `valid_until` is its end."""
    message_id = submit()
    wait_for(lambda: stack.state(message_id) == "dispatched", "the message to be in the outbox")
    time.sleep(0.5)
    before = stack.trace(message_id)["attempts"][0]
    asked = time.time()
    message = take(phone, message_id)
    taken = time.time()
    after = stack.trace(message_id)["attempts"][0]

    assert (before["handed_at"], before["lease_until"]) == (None, None)
    assert message["valid_until"] == after["lease_until"]
    assert asked + LEASE_SECONDS <= message["valid_until"] <= taken + LEASE_SECONDS
    assert after["lease_until"] - after["handed_at"] == pytest.approx(LEASE_SECONDS, abs=0.001)


def test_a_message_is_handed_over_once(submit: Submit, phone: TestPhone, stack: Stack) -> None:
    """Ten pulls at the same moment get it once."""
    message_id = submit()
    wait_for(lambda: stack.state(message_id) == "dispatched", "the message to be in the outbox")
    with ThreadPoolExecutor(10) as pool:
        pulled = [message["id"] for messages in pool.map(lambda _: phone.pull(wait=1), range(10)) for message in messages]

    assert pulled == [message_id]


def test_a_client_that_leaves_loses_nothing(stack: Stack, submit: Submit, phone: TestPhone) -> None:
    """Five long-polls are given up; the next message goes to who asks then, at once and not after a lease."""
    polls = [open_long_poll(stack, phone) for _ in range(5)]
    time.sleep(0.5)
    for poll in polls:
        poll.close()
    time.sleep(0.2)
    message_id = submit()
    messages = phone.pull(wait=10)

    assert [(message["id"], message["attempt"]) for message in messages] == [(message_id, 1)]


def test_one_of_two_leaves(stack: Stack, submit: Submit, phone: TestPhone) -> None:
    """The other long-poll of the same seed is given the message."""
    leaving = open_long_poll(stack, phone)
    with ThreadPoolExecutor(1) as pool:
        staying = pool.submit(phone.pull, 20.0)
        time.sleep(0.5)
        leaving.close()
        time.sleep(0.2)
        message_id = submit()
        messages = staying.result()

    assert [message["id"] for message in messages] == [message_id]


def test_a_pull_and_a_report_are_pings(stack: Stack) -> None:
    """The last ping time moves with each, and an open long-poll keeps a seed online beyond its window."""

    def lps() -> float:
        return float(stack.operator("GET", f"/seeds/{quiet.imsi}")["lps"] or 0.0)

    token = stack.operator("POST", "/seeds", {"imsi": "603010000099999"})["token"]
    quiet = TestPhone(stack.http, "603010000099999", token)
    times = [lps()]
    quiet.pull()
    times.append(lps())
    reports(stack, quiet)
    times.append(lps())
    listed = [seed["IMSI"] for seed in stack.http.get("/seeds").json()]
    with ThreadPoolExecutor(1) as pool:
        polled = pool.submit(quiet.pull, 7.0)
        time.sleep(6.5)
        online = stack.operator("GET", f"/seeds/{quiet.imsi}")["online"]
        polled.result()
    stack.operator("PATCH", f"/seeds/{quiet.imsi}", {"enabled": False})

    assert times == sorted(set(times))
    assert quiet.imsi in listed
    assert online


# Who may


def test_401_for_all_but_its_own_token(stack: Stack, new_phone: NewPhone) -> None:
    """No token, another seed's, a wrong one, an account's key, the operator's: for both calls, as an object with `error`."""
    one, other = new_phone(), new_phone()
    tokens = ["", other.token, "wrong", one.token[:-1], one.token.upper(), stack.account()["key"], stack.operator_token]
    for token in tokens:
        headers = bearer(token) if token else {}
        answers = [
            stack.http.get(f"/seeds/{one.imsi}/messages?wait=0", headers=headers),
            stack.http.post(f"/seeds/{one.imsi}/reports", json=[], headers=headers),
        ]

        assert [answer.status_code for answer in answers] == [401, 401]
        assert all(list(answer.json()) == ["error"] for answer in answers)


def test_401_for_unknown_and_for_unenrolled_seeds(stack: Stack) -> None:
    """The same answer, so that nobody learns which seeds exist."""
    stack.http.post("/seeds/ping", json={"IMSI": "pinged_only", "MSISDN": "1", "seed_type": "seed"})
    answers = [stack.http.get(f"/seeds/{imsi}/messages?wait=0", headers=bearer("x")) for imsi in ("pinged_only", "nobody", "%00", "%7D")]

    assert {(answer.status_code, answer.content) for answer in answers} == {(401, answers[0].content)}


def test_a_new_token_voids_the_old_one(stack: Stack, new_phone: NewPhone) -> None:
    """At once."""
    phone = new_phone()
    token = stack.operator("POST", "/seeds", {"imsi": phone.imsi})["token"]
    answers = [stack.http.get(f"/seeds/{phone.imsi}/messages?wait=0", headers=bearer(key)) for key in (phone.token, token)]

    assert [answer.status_code for answer in answers] == [401, 200]


# Reporting


def test_reports_of_one_call_are_taken_in_order(stack: Stack, submit: Submit, phone: TestPhone) -> None:
    """radio and sent of two messages, mixed."""
    ids = [submit(), submit()]
    first, second = take_all(phone, *ids)
    answer = reports(
        stack, phone, told(first, "accepted"), told(first, "radio"), told(second, "radio"), told(second, "sent"), told(first, "sent")
    )

    assert answer == {"accepted": 5, "stale": 0}
    assert [stack.state(message_id) for message_id in ids] == ["sent", "sent"]
    trace = stack.trace(first["id"])["attempts"][0]
    assert trace["radio_at"] <= trace["sent_at"]


def test_radio_after_sent_is_stale(stack: Stack, submit: Submit, phone: TestPhone) -> None:
    message = take(phone, submit())
    answer = reports(stack, phone, told(message, "sent"), told(message, "radio"), told(message, "delivered"), told(message, "failed"))

    assert (answer["accepted"], answer["stale"]) == (2, 2)
    assert stack.state(message["id"]) == "sent"


def test_a_repeated_report_is_stale(stack: Stack, submit: Submit, phone: TestPhone) -> None:
    """In one call or another; the lifecycle never runs backwards."""
    message = take(phone, submit())
    once = reports(stack, phone, told(message, "radio"), told(message, "sent"), told(message, "sent"))
    again = reports(stack, phone, told(message, "sent"))
    sent_at = stack.trace(message["id"])["sent_at"]
    reports(stack, phone, told(message, "failed", error="late"))

    stale = {"id": message["id"], "attempt": 1}
    assert once == {"accepted": 2, "stale": 1, "stale_messages": [stale]}
    assert again == {"accepted": 0, "stale": 1, "stale_messages": [stale]}
    assert stack.state(message["id"]) == "sent"
    assert stack.trace(message["id"])["sent_at"] == sent_at


def test_a_failure_and_the_next_attempt(stack: Stack, submit: Submit, phone: TestPhone) -> None:
    """With attempt 2 in hand, what is said of attempt 1 changes nothing any more."""
    message_id = submit()
    first = take(phone, message_id)
    phone.report(first, "failed", "no signal")
    second = take(phone, message_id)
    late = reports(stack, phone, told(first, "radio"), told(first, "failed"))
    on_time = reports(stack, phone, told(second, "radio"), told(second, "sent"))
    attempts = stack.trace(message_id)["attempts"]

    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert late["stale"] == 2
    assert on_time == {"accepted": 2, "stale": 0}
    assert [(attempt["state"], attempt["error"]) for attempt in attempts] == [("failed", "no signal"), ("sent", None)]


def test_foreign_and_unknown_ids_are_stale(stack: Stack, submit: Submit, phone: TestPhone, new_phone: NewPhone) -> None:
    """Another seed's message, another attempt, no message at all: nothing changes, and the known one beside them does."""
    message = take(phone, submit())
    other = new_phone()
    foreign = reports(stack, other, told(message, "sent"))
    stack.operator("PATCH", f"/seeds/{other.imsi}", {"enabled": False})
    unknown = [{"id": message["id"], "attempt": attempt, "state": "sent"} for attempt in (0, -1, 2, 10**30)] + [
        {"id": id, "attempt": 1, "state": "sent"} for id in ("", "wg_nothing", "٣", "\x00", "{}", "x" * 10_000)
    ]
    answer = reports(stack, phone, *unknown)

    assert foreign == {"accepted": 0, "stale": 1, "stale_messages": [{"id": message["id"], "attempt": 1}]}
    assert (answer["accepted"], answer["stale"]) == (0, len(unknown))
    assert stack.state(message["id"]) == "dispatched"
    assert reports(stack, phone, *unknown[:2], told(message, "radio"))["accepted"] == 1


def test_radio_is_refused_once_the_lease_is_over(stack: Stack, submit: Submit, phone: TestPhone) -> None:
    """Stale means: do not send. It is told so before the router has moved the message, and after."""
    message = take(phone, submit())
    early = reports(stack, phone, told(message, "radio"))
    other = take(phone, submit())
    time.sleep(max(0.0, other["valid_until"] - time.time()) + 0.05)
    late = reports(stack, phone, told(other, "radio"))
    wait_for(lambda: stack.trace(other["id"])["attempts"][0]["state"] == "silent", "the lease to be seen as over")
    later = reports(stack, phone, told(other, "radio"))
    still = reports(stack, phone, told(message, "sent"))

    assert early["accepted"] == 1
    assert (late["accepted"], late["stale"]) == (0, 1)
    assert (later["accepted"], later["stale"]) == (0, 1)
    assert still["accepted"] == 1


def test_a_seeds_error_text_is_kept_and_bounded(stack: Stack, submit: Submit, phone: TestPhone) -> None:
    message = take(phone, submit())
    phone.report(message, "failed", "é" * 5000)

    assert stack.trace(message["id"])["attempts"][0]["error"] == "é" * 200


@pytest.mark.parametrize(
    "body",
    [{}, None, [1], [[]], [{}], [{"id": "a", "attempt": 1}], [{"id": "a", "attempt": "one", "state": "sent"}],
     [{"id": 1, "attempt": 1, "state": "sent"}], [{"id": "a", "attempt": 1, "state": "verified"}],
     [{"id": "a", "attempt": 1, "state": "sent", "at": "now"}], [{"id": "a", "attempt": 1, "state": "sent", "error": 5}]],
    ids=repr,
)  # fmt: skip
def test_malformed_reports_are_422_and_change_nothing(stack: Stack, submit: Submit, phone: TestPhone, body: Any) -> None:
    """Not even the good ones in front of the bad one."""
    message = take(phone, submit())
    given = [told(message, "sent"), *body] if isinstance(body, list) else body
    answer = stack.http.post(f"/seeds/{phone.imsi}/reports", json=given, headers=bearer(phone.token))

    assert answer.status_code == 422
    assert list(answer.json()) == ["error"]
    assert stack.state(message["id"]) == "dispatched"


def test_too_many_reports_in_one_call(stack: Stack, phone: TestPhone) -> None:
    many = [{"id": "a", "attempt": 1, "state": "sent"}] * 1000

    assert reports(stack, phone, *many)["stale"] == 1000
    answer = stack.http.post(f"/seeds/{phone.imsi}/reports", json=[*many, many[0]], headers=bearer(phone.token))
    assert (answer.status_code, answer.json()) == (422, {"error": "reports: at most 1000 in one call"})


# Out of service


@pytest.mark.parametrize("change", ["draining", "enabled"])
def test_a_seed_out_of_service_is_given_nothing_and_may_finish(stack: Stack, submit: Submit, phone: TestPhone, change: str) -> None:
    """Draining or disabled: it reports what it holds; back in service, it is given what has waited."""
    held = take(phone, submit())
    out, back = ({"draining": True}, {"draining": False}) if change == "draining" else ({"enabled": False}, {"enabled": True})
    stack.operator("PATCH", f"/seeds/{phone.imsi}", out)
    waiting = submit()
    nothing = phone.pull(wait=1.5)
    finished = reports(stack, phone, told(held, "radio"), told(held, "sent"))
    state = stack.state(waiting)
    stack.operator("PATCH", f"/seeds/{phone.imsi}", back)

    assert nothing == []
    assert finished == {"accepted": 2, "stale": 0}
    assert state == "pending"
    assert send_out(phone, waiting)["attempt"] == 1


def test_a_cancelled_message_is_not_handed_over(stack: Stack, submit: Submit, phone: TestPhone) -> None:
    """Withdrawn from the outbox; one that is in a phone's hands gets no leave to send."""
    fetched = take(phone, submit())
    unfetched = submit()
    wait_for(lambda: stack.state(unfetched) == "dispatched", "the message to be in the outbox")
    for message_id in (fetched["id"], unfetched):
        stack.operator("POST", f"/messages/{message_id}/cancel")

    assert phone.pull(wait=0.5) == []
    assert phone.report(fetched, "radio")["stale"] == 1


def test_other_methods_and_paths_have_this_apis_shape(stack: Stack, phone: TestPhone) -> None:
    answers: list[httpx.Response] = [
        stack.http.put(f"/seeds/{phone.imsi}/messages", headers=bearer(phone.token)),
        stack.http.get(f"/seeds/{phone.imsi}/reports", headers=bearer(phone.token)),
        stack.http.get(f"/seeds/{phone.imsi}/nothing", headers=bearer(phone.token)),
    ]

    assert [answer.status_code for answer in answers] == [405, 405, 404]
    assert all(list(answer.json()) == ["error"] for answer in answers)
