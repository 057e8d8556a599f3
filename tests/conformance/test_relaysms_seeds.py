"""RelaySMS's seeds: the guide's own command lines, run by the real curl, and the rest of spec/relaysms.md, Seeds."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest

from router.settings import Settings
from tests.conformance.conftest import MOBILIS, Start, bearer, new_number, send_out
from tests.conftest import require
from tests.stack import Stack, TestPhone, wait_for

ENROLMENT_TOKEN = "let-me-in-please"
TEXT = "text/html; charset=utf-8"
PING = {"MSISDN": "sample_MSISDN", "seed_type": "seed"}
Ping = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def relay(start: Start) -> Iterator[Stack]:
    """A router that seeds may enrol themselves with, and whose seeds are soon offline."""
    with start(SEEDROUTER_ENROLMENT_TOKEN=ENROLMENT_TOKEN, SEEDROUTER_ONLINE_WINDOW_SECONDS="2") as relay:
        yield relay


@pytest.fixture
def ping(relay: Stack) -> Ping:
    """Pings with the guide's values, but for what is given."""

    def ping(imsi: str, token: str | None = None, **fields: Any) -> httpx.Response:
        return relay.http.post("/seeds/ping", json={"IMSI": imsi} | PING | fields, headers=bearer(token) if token else {})

    return ping


@pytest.fixture
def quiet(relay: Stack) -> None:
    """All seeds of earlier tests are offline."""
    wait_for(lambda: relay.http.get("/seeds").json() == [], "every seed to be offline")


class Curled(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]
    body: str


def curl(*arguments: str) -> Curled:
    """Runs the real curl with these arguments."""
    binary = require(shutil.which("curl"), "curl (Debian: apt install curl)")
    command = [binary, "--silent", "--show-error", "--include", "--max-time", "20", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    head, _, body = answer.stdout.replace("\r\n", "\n").partition("\n\n")
    first, *lines = head.split("\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Curled(int(first.split()[1]), headers, body)


def listed(relay: Stack, path: str = "/seeds") -> list[str]:
    return [seed["IMSI"] for seed in relay.http.get(path).json()]


# The guide, as it stands


def test_the_guides_lines(relay: Stack, quiet: None) -> None:
    """`curl -X POST localhost:6969/seeds/ping …` answers the LPS; `curl localhost:6969/seeds …` lists the seed with it."""
    host, json_type = f"localhost:{relay.port}", "Content-Type: application/json"
    body = '{"IMSI":"sample_IMSI", "MSISDN":"sample_MSISDN", "seed_type":"seed"}'
    before = time.time()
    pinged = curl("-X", "POST", f"{host}/seeds/ping", "-d", body, "-H", json_type)
    seeds = curl(f"{host}/seeds", "-H", json_type)
    one = curl(f"{host}/seeds/sample_IMSI")

    assert pinged.status == 200
    assert pinged.headers["content-type"] == TEXT
    assert re.fullmatch(r"\d{10}\.\d{1,9}", pinged.body)
    assert before - 1 <= float(pinged.body) <= time.time() + 1
    assert seeds.status == 200
    assert seeds.headers["content-type"].startswith("application/json")
    assert seeds.body == f'[{{"IMSI":"sample_IMSI","LPS":{pinged.body},"MSISDN":"sample_MSISDN","seed_type":"seed"}}]'
    assert (one.status, one.headers["content-type"], one.body) == (200, TEXT, "sample_MSISDN")


def test_curl_without_a_content_type(relay: Stack) -> None:
    """What `-d` alone sends is called a form, and is JSON all the same."""
    pinged = curl(f"localhost:{relay.port}/seeds/ping", "-d", '{"IMSI":"formless","MSISDN":"1","seed_type":"seed"}')

    assert pinged.status == 200
    assert "formless" in listed(relay)


# What a ping refuses


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "missing IMSI"),
        ({"MSISDN": "1", "seed_type": "seed"}, "missing IMSI"),
        ({"seed_type": "seed"}, "missing IMSI"),
        ({"IMSI": "1"}, "missing MSISDN"),
        ({"IMSI": "1", "seed_type": "seed"}, "missing MSISDN"),
        ({"IMSI": "1", "MSISDN": "1"}, "missing seeder state"),
        ({"IMSI": 1, "seed_type": []}, "missing MSISDN"),
        ({"IMSI": "", "MSISDN": "a b"}, "missing seeder state"),
    ],
)
def test_missing_keys_in_their_order(relay: Stack, body: dict[str, Any], text: str) -> None:
    """Before anything is said of the values."""
    answer = relay.http.post("/seeds/ping", json=body)

    assert (answer.status_code, answer.text, answer.headers["Content-Type"]) == (400, text, TEXT)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"1", b'"IMSI"', b"[]", b'["IMSI"]', b"NaN", b"\xff\xfe", b"[" * 10_000, b"IMSI=1&MSISDN=1&seed_type=seed"],
    ids=repr,
)
def test_a_body_that_is_no_object_is_400_text(relay: Stack, body: bytes) -> None:
    answer = relay.http.post("/seeds/ping", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.headers["Content-Type"]) == (400, TEXT)
    assert answer.text


@pytest.mark.parametrize("field", ["IMSI", "MSISDN", "seed_type"])
@pytest.mark.parametrize(
    "value",
    ["", "x" * 65, "a b", "é", "٣٤٥", "１２", "a\x00b", "a\n", "{a}", "a/b", "🎉", 1, 1.5, True, None, [], ["a"], {}],
    ids=repr,
)
def test_odd_values_are_400_text(relay: Stack, ping: Ping, field: str, value: Any) -> None:
    """1 to 64 of `A-Z a-z 0-9 _ + . -`, as text."""
    answer = ping("odd_IMSI", **{field: value}) if field != "IMSI" else ping(value)

    assert (answer.status_code, answer.headers["Content-Type"]) == (400, TEXT)
    assert answer.text
    assert "odd_IMSI" not in listed(relay)


@pytest.mark.parametrize("imsi", ["x", "x" * 64, "+213.6-6_1", "..", "-"])
def test_any_name_of_the_allowed_characters(relay: Stack, ping: Ping, imsi: str) -> None:
    assert ping(imsi, MSISDN=imsi, seed_type="Seed.2").status_code == 200
    assert imsi in listed(relay)


# Lists


def test_in_order_of_first_ping(relay: Stack, ping: Ping, quiet: None) -> None:
    """Later pings do not change it; with none online the list is empty."""
    assert relay.http.get("/seeds").content == b"[]"
    for imsi in ("zulu", "alpha", "mike", "zulu", "mike"):
        assert ping(imsi).status_code == 200

    assert listed(relay) == ["zulu", "alpha", "mike"]


def test_what_is_known_of_a_carrier_is_told(relay: Stack, ping: Ping) -> None:
    """Country and operator from the IMSI, after the guide's fields."""
    imsi = f"{MOBILIS}0000000077"
    ping(imsi, MSISDN="+213661000077")
    seed = next(seed for seed in relay.http.get("/seeds").json() if seed["IMSI"] == imsi)

    assert list(seed) == ["IMSI", "LPS", "MSISDN", "seed_type", "country", "operator_name", "operator_id"]
    assert (seed["country"], seed["operator_name"], seed["operator_id"]) == ("DZ", "Mobilis", MOBILIS)
    assert isinstance(seed["LPS"], float)


def test_another_ping_changes_only_the_lps(relay: Stack, ping: Ping) -> None:
    """Another MSISDN or type in it is not taken up."""
    first = ping("steady", MSISDN="111")
    second = ping("steady", MSISDN="222", seed_type="seeder")
    seed = next(seed for seed in relay.http.get("/seeds").json() if seed["IMSI"] == "steady")

    assert float(second.text) > float(first.text)
    assert seed == {"IMSI": "steady", "LPS": float(second.text), "MSISDN": "111", "seed_type": "seed"}
    assert relay.http.get("/seeds/steady").text == "111"
    assert "steady" not in listed(relay, "/seeders")


def test_an_operator_can_change_the_msisdn(relay: Stack, ping: Ping) -> None:
    ping("moved", MSISDN="111")
    relay.operator("PATCH", "/seeds/moved", {"msisdn": "333"})
    ping("moved", MSISDN="111")

    assert relay.http.get("/seeds/moved").text == "333"


def test_seeders_are_those_of_that_type(relay: Stack, ping: Ping, quiet: None) -> None:
    ping("a_seed")
    ping("a_seeder", seed_type="seeder")

    assert listed(relay, "/seeders") == ["a_seeder"]
    assert listed(relay) == ["a_seed", "a_seeder"]


def test_offline_seeds_are_not_listed_and_their_number_is_empty(relay: Stack, ping: Ping) -> None:
    """Online for its window after a ping, and again with the next one."""
    ping("comes_and_goes")
    seen = relay.http.get("/seeds/comes_and_goes").text
    wait_for(lambda: "comes_and_goes" not in listed(relay), "the seed to be offline", seconds=5)
    gone = relay.http.get("/seeds/comes_and_goes")
    ping("comes_and_goes")

    assert seen == "sample_MSISDN"
    assert (gone.status_code, gone.content, gone.headers["Content-Type"]) == (200, b"", TEXT)
    assert "comes_and_goes" in listed(relay)


@pytest.mark.parametrize("imsi", ["unknown", "%00", "%FF", "%7B%7D", "%D9%A3", "a%20b", "x" * 5000])
def test_an_unknown_seed_is_an_empty_body(relay: Stack, imsi: str) -> None:
    answer = relay.http.get(f"/seeds/{imsi}")

    assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (200, b"", TEXT)


@pytest.mark.parametrize("path", ["/seeds", "/seeders", "/seeds/whoever"])
def test_any_page_may_read_the_lists(relay: Stack, path: str) -> None:
    answer = relay.http.get(path, headers={"Origin": "https://example.org"})

    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("path", ["/seeds", "/seeders", "/seeds/whoever"])
def test_a_browser_may_ask_first(relay: Stack, path: str) -> None:
    """The guide's GETs carry a Content-Type, for which a page's browser asks by OPTIONS."""
    headers = {"Origin": "https://example.org", "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "content-type"}
    answer = relay.http.options(path, headers=headers)

    assert (204, b"") == (answer.status_code, answer.content)
    assert "*" == answer.headers["Access-Control-Allow-Origin"]
    assert "GET" == answer.headers["Access-Control-Allow-Methods"]
    assert "Content-Type" == answer.headers["Access-Control-Allow-Headers"]


def test_the_window_is_twenty_seconds_where_nobody_sets_it() -> None:
    """Clients ping each ten: one may get lost."""
    assert 20.0 == Settings(_env_file=None).online_window_seconds


def test_the_lps_is_the_servers_time_and_the_same_everywhere(relay: Stack, ping: Ping) -> None:
    """Decimal text in the ping, a number in the list; what the seed says of the time is not asked."""
    before = time.time()
    text = ping("tells_the_time", LPS=5.0, LPSx="5").text
    seed = next(seed for seed in relay.http.get("/seeds").json() if seed["IMSI"] == "tells_the_time")

    assert repr(seed["LPS"]) == text
    assert before - 1 <= float(text) <= time.time() + 1


def test_other_refusals_are_text(relay: Stack) -> None:
    """A method that is none, and a body that is too large."""
    answers = [
        relay.http.delete("/seeds"), relay.http.post("/seeders"), relay.http.put("/seeds/ping"),
        relay.http.post("/seeds/ping", content=b" " * 70_000),
    ]  # fmt: skip

    assert [405, 405, 405, 413] == [answer.status_code for answer in answers]
    assert {TEXT} == {answer.headers["Content-Type"] for answer in answers}


def test_no_page_may_ping(relay: Stack, ping: Ping) -> None:
    asked = relay.http.options("/seeds/ping", headers={"Origin": "https://example.org", "Access-Control-Request-Method": "POST"})

    assert "Access-Control-Allow-Origin" not in ping("not_cors").headers
    assert "Access-Control-Allow-Origin" not in asked.headers


# Who is given messages (invariant 6)


def test_a_pinged_seed_is_listed_and_given_nothing(relay: Stack, ping: Ping) -> None:
    """Not enrolled: it makes no number served, is given no message, and has no way to fetch one."""
    key, imsi = relay.account()["key"], f"{MOBILIS}0000000001"
    assert ping(imsi).status_code == 200
    assert imsi in listed(relay)
    refused = relay.http.post("/api/v1/send-otp", json={"phone": new_number()}, headers=bearer(key))
    djezzy = relay.phone("603020000000001")
    with djezzy.stays_online():
        accepted = relay.http.post("/api/v1/send-otp", json={"phone": new_number()}, headers=bearer(key)).json()["reference_id"]
        for _ in range(4):
            ping(imsi)
            time.sleep(0.3)
        trace = relay.trace(accepted)
        fetches = [relay.http.get(f"/seeds/{imsi}/messages?wait=0", headers=headers) for headers in ({}, bearer("x"), bearer(djezzy.token))]
    relay.operator("POST", f"/messages/{accepted}/cancel")

    assert refused.status_code == 503
    assert trace["attempts"] == []
    assert trace["message"]["state"] == "pending"
    assert [fetch.status_code for fetch in fetches] == [401, 401, 401]


@pytest.mark.parametrize("token", ["wrong", "let-me-in", "x" * 1000])
def test_a_wrong_token_is_refused(relay: Stack, ping: Ping, token: str) -> None:
    """And such a ping is no sign of life."""
    answer = ping("intruder", token)

    assert (answer.status_code, answer.headers["Content-Type"]) == (401, TEXT)
    assert "X-Seed-Token" not in answer.headers
    assert "intruder" not in listed(relay)


def test_the_token_of_another_seed_is_refused(relay: Stack, ping: Ping) -> None:
    other = relay.phone("603020000000002")

    assert ping("impostor", other.token).status_code == 401
    assert ping(other.imsi, other.token).status_code == 200


def test_the_enrolment_token_enrols_and_gives_the_seed_its_own_once(relay: Stack, ping: Ping) -> None:
    """From then on the seed is given messages of its carrier, for its own token only."""
    imsi = f"{MOBILIS}0000000002"
    plain = ping(imsi)
    enrolled = ping(imsi, ENROLMENT_TOKEN)
    again = ping(imsi, ENROLMENT_TOKEN)
    token = enrolled.headers["X-Seed-Token"]
    phone = TestPhone(relay.http, imsi, token)
    with phone.stays_online():
        key = relay.account()["key"]
        answer = relay.http.post("/api/v1/send-otp", json={"phone": new_number()}, headers=bearer(key))
        sent = send_out(phone, answer.json()["reference_id"])
    with_enrolment = relay.http.get(f"/seeds/{imsi}/messages?wait=0", headers=bearer(ENROLMENT_TOKEN))
    relay.operator("PATCH", f"/seeds/{imsi}", {"enabled": False})

    assert (plain.status_code, enrolled.status_code, again.status_code) == (200, 200, 200)
    assert "X-Seed-Token" not in plain.headers
    assert "X-Seed-Token" not in again.headers
    assert len(token) >= 24
    assert sent["text"]
    assert with_enrolment.status_code == 401
    assert token not in relay.log("api")


def test_without_an_enrolment_token_none_works(stack: Stack) -> None:
    """The setting is off where nobody set it: an empty token is not it."""
    for header in ("Bearer", "Bearer  ", f"Bearer {ENROLMENT_TOKEN}", f"Basic {ENROLMENT_TOKEN}"):
        body = json.dumps({"IMSI": "hopeful"} | PING)
        answer = curl(f"{stack.url}/seeds/ping", "-d", body, "-H", f"Authorization: {header}")

        assert "x-seed-token" not in answer.headers
    assert not stack.operator("GET", "/seeds/hopeful")["enrolled"]


def test_open_seeds_waives_enrolment(start: Start) -> None:
    """For closed networks: a seed that only pings is given messages without any token, and the log warns."""
    with start(SEEDROUTER_OPEN_SEEDS="true") as network:
        imsi = f"{MOBILIS}0000000003"
        body = json.dumps({"IMSI": imsi} | PING)
        curl(f"localhost:{network.port}/seeds/ping", "-d", body)
        enrolled = network.phone(f"{MOBILIS}0000000004")
        network.operator("PATCH", f"/seeds/{enrolled.imsi}", {"enabled": False})
        key = network.account()["key"]
        answer = network.http.post("/api/v1/send-otp", json={"phone": new_number()}, headers=bearer(key))
        reference = answer.json()["reference_id"]
        fetched = curl(f"localhost:{network.port}/seeds/{imsi}/messages?wait=5")
        without_its_token = network.http.get(f"/seeds/{enrolled.imsi}/messages?wait=0")

        assert [message["id"] for message in json.loads(fetched.body)] == [reference]
        assert without_its_token.status_code == 401
        assert "seeds.open" in network.log("api")
