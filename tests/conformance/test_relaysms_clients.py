"""RelaySMS's gateway clients and their reliability tests: spec/relaysms.md, /v3. As a client sees them, over a whole router."""

import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.conformance.conftest import Start, bearer, send_out
from tests.stack import Stack, TestPhone, wait_for

CLIENT_KEYS = {"country", "last_published_date", "msisdn", "operator", "operator_code", "protocols", "reliability"}
TEST_KEYS = {"id", "msisdn", "sms_received_time", "sms_routed_time", "sms_sent_time", "start_time", "status"}
PROBE_NUMBER = "+213661999998"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def relay(start: Start) -> Iterator[Stack]:
    """A router with a few gateway clients, all of them offline by now."""
    with start(SEEDROUTER_PROBE_NUMBER=PROBE_NUMBER, SEEDROUTER_PROBES_PER_HOUR="2", SEEDROUTER_ONLINE_WINDOW_SECONDS="30") as relay:
        for imsi, msisdn in (
            ("603019100000001", "+213661000001"), ("603019100000002", "+213661000002"), ("603029100000001", "+213771000001"),
            ("621309100000001", "+2348031234567"),
        ):  # fmt: skip
            relay.phone(imsi, msisdn=msisdn)
        yield relay


@pytest.fixture
def new_client(relay: Stack) -> Callable[[], tuple[TestPhone, str]]:
    """A seed with a number of its own, in a country that no listing here asks for."""

    def made() -> tuple[TestPhone, str]:
        place = next(_numbers)
        msisdn = f"+2126120000{place:02d}"
        phone = relay.phone(f"6040191000000{place:02d}", msisdn=msisdn)
        wait_for(lambda: msisdn in numbers(listed(relay, country="MA", per_page=100)), f"{msisdn} to be listed")
        return phone, msisdn

    return made


def listed(relay: Stack, **query: Any) -> httpx.Response:
    answer = relay.http.get("/v3/clients", params=query)
    assert answer.status_code == 200, answer.text
    return answer


def numbers(answer: httpx.Response) -> list[str]:
    return [client["msisdn"] for client in answer.json()]


def begin(relay: Stack, msisdn: str, token: str | None = None) -> httpx.Response:
    return relay.http.post(f"/v3/clients/{msisdn}/tests", headers=bearer(token or relay.operator_token))


def history(relay: Stack, msisdn: str, **query: Any) -> Any:
    answer = relay.http.get(f"/v3/clients/{msisdn}/tests", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_a_client_is(relay: Stack) -> None:
    """To the letter; who has never been tested stands at 0.00."""
    lps = float(relay.operator("GET", "/seeds/621309100000001")["lps"])
    (client,) = wait_for(lambda: listed(relay, country="Nigeria").json(), "the client in Nigeria")

    assert CLIENT_KEYS == client.keys()
    assert client == {
        "country": "Nigeria", "last_published_date": int(lps), "msisdn": "+2348031234567", "operator": "62130", "operator_code": "62130",
        "protocols": ["https"], "reliability": "0.00",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"country": "Algeria"}, 3),
        ({"country": "aLGERIA"}, 3),
        ({"country": "dz"}, 3),
        ({"country": "Alger"}, 0),
        ({"country": "Algeria", "operator": "mobilis"}, 2),
        ({"operator": "Djezzy"}, 1),
        ({"operator": "Djez"}, 0),
        ({"country": "DZ", "protocols": "HTTPS"}, 3),
        ({"protocols": "https,smtp"}, 0),
        ({"protocols": "amqp"}, 0),
        ({"last_published_date": "2020-02-29"}, 0),
    ],
)
def test_filters(relay: Stack, query: dict[str, str], found: int) -> None:
    """Exact, whatever the case."""
    wait_for(lambda: len(numbers(listed(relay, country="DZ"))) == 3, "the clients in Algeria")

    assert found == len(numbers(listed(relay, **query)))


def test_the_day_of_the_last_sign_of_life(relay: Stack) -> None:
    """As a date, a time of that day, or the very number that the list tells."""
    (client,) = wait_for(lambda: listed(relay, country="NG").json(), "the client in Nigeria")
    at = client["last_published_date"]

    assert ["+2348031234567"] == numbers(listed(relay, country="NG", last_published_date=at))
    assert [] == numbers(listed(relay, country="NG", last_published_date=at - 2 * 86400))
    answer = relay.http.get("/v3/clients", params={"last_published_date": "yesterday"})
    assert 400 == answer.status_code
    assert "last_published_date" in answer.json()["error"]


def test_countries_and_operators(relay: Stack) -> None:
    wait_for(lambda: len(numbers(listed(relay, country="DZ"))) == 3, "the clients in Algeria")

    assert {"Algeria", "Nigeria"} <= set(relay.http.get("/v3/clients/countries").json())
    assert ["Djezzy", "Mobilis"] == relay.http.get("/v3/clients/Algeria/operators").json()
    assert ["Djezzy", "Mobilis"] == relay.http.get("/v3/clients/dz/operators").json()
    assert [] == relay.http.get("/v3/clients/Atlantis/operators").json()


def test_pages(relay: Stack) -> None:
    """With the headers and links that the web client goes by; the links keep the filters and can be followed."""
    wait_for(lambda: len(numbers(listed(relay, country="DZ"))) == 3, "the clients in Algeria")
    first = listed(relay, country="DZ", page=1, per_page=1)

    assert ("3", "1", "1") == tuple(first.headers[name] for name in ("X-Total-Count", "X-Page", "X-Per-Page"))
    assert {"next", "last"} == first.links.keys()
    second = httpx.get(first.links["next"]["url"])
    assert {"first", "prev", "next", "last"} == second.links.keys()
    assert "2" == second.headers["X-Page"]
    last = httpx.get(second.links["last"]["url"])
    assert {"first", "prev"} == last.links.keys()
    assert numbers(listed(relay, country="DZ")) == numbers(first) + numbers(second) + numbers(last)
    assert 3 == len(set(numbers(first) + numbers(second) + numbers(last)))
    beyond = listed(relay, country="DZ", page=9)
    assert ([], "3") == (beyond.json(), beyond.headers["X-Total-Count"])
    assert {} == listed(relay, country="DZ").links


def test_no_more_than_so_many_at_once(relay: Stack) -> None:
    """The answer says how many it gives."""
    assert "100" == listed(relay, per_page=1_000_000).headers["X-Per-Page"]
    assert "10" == listed(relay).headers["X-Per-Page"]


@pytest.mark.parametrize("query", [{"page": "0"}, {"page": "-1"}, {"page": "x"}, {"per_page": "0"}, {"page": "9" * 40}, {"page": "1.5"}])
@pytest.mark.parametrize("path", ["/v3/clients", "/v3/clients/+213661000001/tests"])
def test_no_such_page(relay: Stack, path: str, query: dict[str, str]) -> None:
    answer = relay.http.get(path, params=query)

    assert 400 == answer.status_code
    assert {"error"} == answer.json().keys()
    assert "page" in answer.json()["error"]


def test_who_is_not_listed(relay: Stack, new_client: Callable[[], tuple[TestPhone, str]]) -> None:
    """Seeds that nobody has enrolled, that serve one account only, are disabled, have no number, or never pinged."""
    phone, msisdn = new_client()
    relay.http.post("/seeds/ping", json={"IMSI": "604019200000001", "MSISDN": "+212612900001", "seed_type": "seed"})
    account = relay.account()["id"]
    relay.phone("604019200000002", msisdn="+212612900002", account=account, shared=False)
    relay.operator("POST", "/seeds", {"imsi": "604019200000003", "msisdn": "+212612900003"})
    relay.operator("PATCH", f"/seeds/{phone.imsi}", {"enabled": False})

    wait_for(lambda: msisdn not in numbers(listed(relay, country="MA", per_page=100)), "the disabled one to go")
    found = numbers(listed(relay, country="MA", per_page=100))
    assert not {"+212612900001", "+212612900002", "+212612900003"} & set(found)
    # And who is not listed is not told of, and not tested, by number
    assert {"error": "Gateway client not found"} == begin(relay, "+212612900002").json()
    assert {"error": "Gateway client not found"} == begin(relay, msisdn).json()


def test_browsers_may_read_it(relay: Stack) -> None:
    """From any site; but not begin tests."""
    for path in ("/v3/clients", "/v3/clients/countries", "/v3/clients/DZ/operators", "/v3/clients/+213661000001/tests"):
        answer = relay.http.get(path, headers={"Origin": "https://example.org"})
        assert "*" == answer.headers["Access-Control-Allow-Origin"], path
        asked = relay.http.options(path, headers={"Origin": "https://example.org", "Access-Control-Request-Method": "GET"})
        assert (204, "*", "GET") == (
            asked.status_code, asked.headers["Access-Control-Allow-Origin"], asked.headers["Access-Control-Allow-Methods"]
        )  # fmt: skip
    exposed = relay.http.get("/v3/clients").headers["Access-Control-Expose-Headers"]
    assert {"X-Total-Count", "X-Page", "X-Per-Page", "Link"} == set(exposed.split(", "))
    assert "*" == relay.http.get("/v3/clients", params={"page": 0}).headers["Access-Control-Allow-Origin"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v3/clients/DZ/nothing", 404), ("DELETE", "/v3/clients", 405), ("PUT", "/v3/clients/+213661000001/tests", 405)],
)
def test_the_shape_of_errors(relay: Stack, method: str, path: str, status: int) -> None:
    answer = relay.http.request(method, path)

    assert status == answer.status_code
    assert {"error"} == answer.json().keys()


def test_a_test_from_its_beginning_to_its_end(relay: Stack, new_client: Callable[[], tuple[TestPhone, str]]) -> None:
    """Exactly the keys of the original; pending at first, a success when the seed has sent it; the listing then shows it."""
    phone, msisdn = new_client()
    answer = begin(relay, msisdn)
    assert 200 == answer.status_code
    begun = answer.json()
    assert {"message", "test_id", "test_start_time"} == begun.keys()
    assert ("Test started successfully.", int, int) == (begun["message"], type(begun["test_id"]), type(begun["test_start_time"]))

    pending = history(relay, msisdn)
    assert {"data", "total_records", "total_success", "total_failed"} == pending.keys()
    assert (1, 0, 0) == (pending["total_records"], pending["total_success"], pending["total_failed"])
    (test,) = pending["data"]
    assert TEST_KEYS == test.keys()
    assert ("pending", msisdn, begun["test_id"], begun["test_start_time"]) == (
        test["status"], test["msisdn"], test["id"], test["start_time"]
    )  # fmt: skip
    assert (None, None, None) == (test["sms_sent_time"], test["sms_received_time"], test["sms_routed_time"])

    (message,) = wait_for(lambda: phone.pull(wait=1), "the probe")
    assert PROBE_NUMBER == message["to"]
    assert re.fullmatch(rf"Seedrouter test {begun['test_id']}: [0-9a-f]{{20}}", message["text"])
    phone.report(message, "radio")
    phone.report(message, "sent")
    ended = history(relay, msisdn)
    assert (1, 1, 0) == (ended["total_records"], ended["total_success"], ended["total_failed"])
    (test,) = ended["data"]
    assert "success" == test["status"]
    assert begun["test_start_time"] <= test["sms_sent_time"]
    wait_for(
        lambda: next(c for c in listed(relay, country="MA", per_page=100).json() if c["msisdn"] == msisdn)["reliability"] == "1.00",
        "the reliability to be listed",
    )


def test_the_timekeeper_ends_a_test(relay: Stack, new_client: Callable[[], tuple[TestPhone, str]]) -> None:
    """Nobody has to ask for it."""
    phone, msisdn = new_client()
    begun = begin(relay, msisdn).json()
    (message,) = wait_for(lambda: phone.pull(wait=1), "the probe")
    phone.report(message, "radio")
    phone.report(message, "sent")

    seed = wait_for(lambda: (seed := relay.operator("GET", f"/seeds/{phone.imsi}"))["tests"] and seed, "the result at the seed")
    assert (1.0, 1) == (seed["reliability"], seed["tests"])
    names = (f"test={begun['test_id']}", f'"test":{begun["test_id"]}')
    wait_for(lambda: any(name in relay.log("timekeeper").replace(" ", "") for name in names), "the timekeeper's line")


def test_an_unknown_client(relay: Stack) -> None:
    """200, which clients go by."""
    answer = begin(relay, "+213000000000")

    assert (200, {"error": "Gateway client not found"}) == (answer.status_code, answer.json())
    assert {"data": [], "total_records": 0, "total_success": 0, "total_failed": 0} == history(relay, "+213000000000")


def test_so_many_an_hour(relay: Stack, new_client: Callable[[], tuple[TestPhone, str]]) -> None:
    """Each costs an SMS: beyond the bound 429, and when to come again."""
    _, msisdn = new_client()
    for _ in range(2):
        assert 200 == begin(relay, msisdn).status_code

    answer = begin(relay, msisdn)
    assert 429 == answer.status_code
    assert {"error"} == answer.json().keys()
    assert 3500 < int(answer.headers["Retry-After"]) <= 3601
    found = history(relay, msisdn, per_page=1)
    assert (1, 2) == (len(found["data"]), found["total_records"])
    newest, older = history(relay, msisdn)["data"]
    assert newest["id"] > older["id"]
    assert [newest] == found["data"]


def test_what_is_asked_of_tests(relay: Stack, new_client: Callable[[], tuple[TestPhone, str]]) -> None:
    """By status and time; the number with or without its plus."""
    _, msisdn = new_client()
    begun = begin(relay, msisdn).json()
    at = begun["test_start_time"]

    assert 1 == history(relay, msisdn, status="pending")["total_records"]
    assert 0 == history(relay, msisdn, status="success")["total_records"]
    assert 1 == history(relay, msisdn, start_time=at, end_time=at + 60)["total_records"]
    assert 0 == history(relay, msisdn, start_time="2099-01-01T00:00:00")["total_records"]
    assert 0 == history(relay, msisdn, end_time="2020-01-01")["total_records"]
    assert 1 == history(relay, msisdn.removeprefix("+"))["total_records"]
    assert 400 == relay.http.get(f"/v3/clients/{msisdn}/tests", params={"status": "running"}).status_code


@pytest.mark.parametrize("token", ["", "wrong"])
def test_who_may_begin_one(relay: Stack, token: str) -> None:
    """The operator, unless `open_probes` says that anybody may; the unknown number is not even looked for."""
    headers = bearer(token) if token else {}
    for msisdn in ("+213661000001", "+213000000000"):
        answer = relay.http.post(f"/v3/clients/{msisdn}/tests", headers=headers)
        assert 401 == answer.status_code
        assert {"error"} == answer.json().keys()


def test_open_probes(start: Start) -> None:
    """Anybody, within the bound; and where it is a lost probe, the choice and the list know after its time."""
    with start(SEEDROUTER_OPEN_PROBES="1", SEEDROUTER_PROBE_SECONDS="10", SEEDROUTER_LEASE_SECONDS="2") as relay:
        phone = relay.phone("603019300000001", msisdn="+213661000031")
        wait_for(lambda: numbers(listed(relay)), "the client")
        answer = relay.http.post("/v3/clients/+213661000031/tests", json={"test_start_time": "2025-04-08T01:25:00"})
        assert 200 == answer.status_code
        (message,) = wait_for(lambda: phone.pull(wait=1), "the probe")
        # Nobody else has a number here: to itself
        assert "+213661000031" == message["to"]
        phone.report(message, "failed", "no service")

        wait_for(lambda: history(relay, "+213661000031")["total_failed"] == 1, "the test to time out")
        seed = wait_for(lambda: (seed := relay.operator("GET", f"/seeds/{phone.imsi}"))["tests"] and seed, "the result at the seed")
        assert (0.0, 1, 1) == (seed["reliability"], seed["tests"], seed["failed"])
        assert [] == phone.pull()


def command(relay: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"SEEDROUTER_URL": relay.url, "SEEDROUTER_OPERATOR_TOKEN": relay.operator_token}
    run = [sys.executable, "-m", "router.cli.main", *arguments]
    return subprocess.run(run, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_seeds_test(relay: Stack, new_client: Callable[[], tuple[TestPhone, str]]) -> None:
    """`seedrouter seeds test IMSI` begins one and waits for its result; `seeds list` shows the reliability."""
    phone, _ = new_client()

    def answer_it() -> None:
        (message,) = wait_for(lambda: phone.pull(wait=1), "the probe")
        phone.report(message, "radio")
        phone.report(message, "sent")

    seed = threading.Thread(target=answer_it, daemon=True)
    seed.start()
    done = command(relay, "seeds", "test", phone.imsi, "--json")
    seed.join(30)

    assert 0 == done.returncode, done.stderr
    test = json.loads(done.stdout)
    assert ("success", phone.imsi, "sent") == (test["status"], test["imsi"], test["message_state"])
    table = command(relay, "seeds", "list").stdout
    assert "reliability" in table
    assert "100% of 1" in next(line for line in table.splitlines() if phone.imsi in line)


def test_seeds_test_of_a_seed_that_fails(relay: Stack, new_client: Callable[[], tuple[TestPhone, str]]) -> None:
    """It does not wait for the test's ten minutes when the seed has said that it failed; exit code 1, and the reason."""
    phone, _ = new_client()

    def fail() -> None:
        (message,) = wait_for(lambda: phone.pull(wait=1), "the probe")
        phone.report(message, "failed", "no service here")

    seed = threading.Thread(target=fail, daemon=True)
    seed.start()
    done = command(relay, "seeds", "test", phone.imsi)
    seed.join(30)

    assert 1 == done.returncode
    assert "no service here" in done.stdout


def test_the_operators_tests(relay: Stack) -> None:
    assert 404 == relay.http.get("/operator/v1/seeds/nobody/tests", headers=bearer(relay.operator_token)).status_code
    assert 404 == relay.http.post("/operator/v1/seeds/nobody/tests", headers=bearer(relay.operator_token)).status_code
    assert 404 == relay.http.get("/operator/v1/seeds/603019100000001/tests/9", headers=bearer(relay.operator_token)).status_code
    assert [] == relay.operator("GET", "/seeds/603019100000001/tests")


def test_codes_go_on(relay: Stack) -> None:
    """A seed that was tested serves everybody else; the two do not mix."""
    phone, msisdn = relay.phone("605029100000001", msisdn="+21698123456"), "+21698123456"
    wait_for(lambda: numbers(listed(relay, country="TN")), "the client to be listed")
    with phone.stays_online():
        key = relay.account()["key"]
        begin(relay, msisdn)
        probe = wait_for(lambda: phone.pull(wait=1), "the probe")[0]
        phone.report(probe, "radio")
        phone.report(probe, "sent")
        sent = wait_for(
            lambda: (a := relay.http.post("/api/v1/send-otp", json={"phone": "+21698123457"}, headers=bearer(key))).is_success and a,
            "a code to be accepted",
        ).json()

        send_out(phone, sent["reference_id"])
        assert relay.wait_for_state(sent["reference_id"], "sent")


def test_an_arrival_by_a_forwarder(start: Start) -> None:
    """With `probe_arrival`, "sent" proves nothing; what the forwarder of the number posts does, with its time. Nobody else hears of it."""
    with start(SEEDROUTER_PROBE_NUMBER=PROBE_NUMBER, SEEDROUTER_PROBE_ARRIVAL="1") as relay:
        phone = relay.phone("603019400000001", msisdn="+213661000041")
        wait_for(lambda: numbers(listed(relay)), "the client")
        begin(relay, "+213661000041")
        (message,) = wait_for(lambda: phone.pull(wait=1), "the probe")
        phone.report(message, "radio")
        phone.report(message, "sent")
        (test,) = history(relay, "+213661000041")["data"]
        assert "pending" == test["status"]

        body = {"text": message["text"], "MSISDN": "+213661000041", "date": str(int(time.time() * 1000))}
        answer = relay.http.post("/sms/platform/telegram", json=body)
        assert (200, "message published successfully") == (answer.status_code, answer.text)
        (test,) = history(relay, "+213661000041")["data"]
        assert "success" == test["status"]
        assert test["start_time"] <= test["sms_received_time"] <= test["sms_routed_time"]
        assert test["start_time"] <= test["sms_sent_time"]


def test_an_arrival_at_a_seed(start: Start) -> None:
    """One of our own seeds has the number, and tells of what it receives by the seed API."""
    with start(SEEDROUTER_PROBE_ARRIVAL="1") as relay:
        phone, receiver = relay.phone("603019500000001", msisdn="+213661000051"), relay.phone("603019500000002", msisdn="+213661000052")
        wait_for(lambda: len(numbers(listed(relay))) == 2, "the clients")
        begin(relay, "+213661000051")
        (message,) = wait_for(lambda: phone.pull(wait=1), "the probe")
        assert "+213661000052" == message["to"]
        phone.report(message, "radio")

        told = [{"from": "+213661000051", "text": message["text"]}]
        answer = relay.http.post(f"/seeds/{receiver.imsi}/received", json=told, headers=bearer(receiver.token))
        assert answer.is_success, answer.text
        assert "success" == history(relay, "+213661000051")["data"][0]["status"]
