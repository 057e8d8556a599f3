"""Whatever is sent to the three dialects, they answer in their own shape, and nothing unforeseen happens.

Requests go out as bytes, so that no client makes them better than they are. What is not HTTP at all never reaches a dialect.
"""

import contextlib
import json
import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.conftest import MOBILIS, bearer
from tests.stack import Stack, TestPhone

FUZZ = settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
UNSERVED = "+33612345678"
"""A valid number that no seed can serve, so that no example makes a message."""


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]
    body: bytes


class Caller:
    """Sends bytes, and looks at each answer as its dialect's clients would."""

    def __init__(self, stack: Stack, key: str, phone: TestPhone) -> None:
        self.port = stack.port
        self.key = key
        self.phone = phone
        self.tokens = {"gatewire": key, "relaysms": phone.token, "seeds": phone.token}

    def send(self, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        """`headers` may replace Host and Content-Length."""
        lines = {"Host": "router", "Content-Length": str(len(body)), "Connection": "close"} | headers
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            with contextlib.suppress(ConnectionError):  # it may answer, and hang up, before it has heard all
                connection.sendall(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
            response = HTTPResponse(connection, method=method)
            response.begin()
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    def check(self, dialect: str, answer: Answer) -> None:
        """An answer of 2xx, or a refusal in the dialect's shape; a server error is only ever 'no seed'."""
        assert 200 <= answer.status < 300 or 400 <= answer.status < 504, answer
        assert answer.status < 500 or self._is_unserved(answer), answer
        if answer.status < 400 or not answer.body:
            return
        if dialect == "relaysms":
            assert answer.headers["content-type"] == "text/html; charset=utf-8", answer
            answer.body.decode()
            return
        problem = json.loads(answer.body)
        assert answer.headers["content-type"].startswith("application/json"), answer
        assert isinstance(problem["error"], str), answer
        assert problem["error"], answer
        assert list(problem) == (["error", "message"] if dialect == "gatewire" else ["error"]), answer
        assert problem.get("message", problem["error"]) == problem["error"], answer

    @staticmethod
    def _is_unserved(answer: Answer) -> bool:
        return answer.status == 503 and json.loads(answer.body)["error"] == "No available devices."

    def call(self, dialect: str, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        """With its right token; checked."""
        given = bearer(self.tokens[dialect]) | {"Content-Type": "application/json"} | headers
        answer = self.send(method, target, given, body)
        self.check(dialect, answer)
        return answer


@pytest.fixture(scope="module")
def caller(stack: Stack) -> Iterator[Caller]:
    """An account that may send, and an enrolled seed of Mobilis, for which nothing waits."""
    phone = stack.phone(f"{MOBILIS}8888888888")
    yield Caller(stack, stack.account()["key"], phone)
    stack.operator("PATCH", f"/seeds/{phone.imsi}", {"enabled": False})
    assert "request.failed" not in stack.log("api"), "something unforeseen was logged"


POSTS = {
    "send-otp": ("gatewire", "/api/v1/send-otp"),
    "dispatch": ("gatewire", "/api/v1/dispatch"),
    "verify-otp": ("gatewire", "/api/v1/verify-otp"),
    "ping": ("relaysms", "/seeds/ping"),
    "reports": ("seeds", f"/seeds/{MOBILIS}8888888888/reports"),
}
GETS = {
    "status": ("gatewire", "/api/v1/status/wg_1"),
    "balance": ("gatewire", "/api/v1/balance"),
    "services": ("gatewire", "/api/v1/client/services"),
    "list": ("relaysms", "/seeds"),
    "seeders": ("relaysms", "/seeders"),
    "msisdn": ("relaysms", "/seeds/somebody"),
    "messages": ("seeds", f"/seeds/{MOBILIS}8888888888/messages?wait=0"),
}
EVERY = {name: (*where, "POST") for name, where in POSTS.items()} | {name: (*where, "GET") for name, where in GETS.items()}
posts = pytest.mark.parametrize(("dialect", "target"), POSTS.values(), ids=POSTS)
everywhere = pytest.mark.parametrize(("dialect", "target", "method"), EVERY.values(), ids=EVERY)

# Bodies

texts = st.one_of(
    st.text(st.characters(), max_size=40),  # lone surrogates included
    st.sampled_from(["", " ", "\x00", "٣٤٥٦٧٨", "１２３", "\ud800", "a\r\nb: c", "{}", "..", "%00", "'; --", "9" * 10_000, "𝟚" * 300]),
)
numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**30, -(10**4000), 1e308, 5e-324, float("nan"), float("inf"), -0.0]),
)
junk = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
FIELDS: dict[str, Any] = {
    "phone": [UNSERVED, "+213", "0"],
    "message": ["hello"],
    "template_key": ["default", "nope"],
    "priority": ["high", "low"],
    "reference_id": ["wg_01M7Z27KJRA9GCAW18V33B0DQA"],
    "code": ["123456", 123456],
    "IMSI": ["fuzzed"],
    "MSISDN": ["1"],
    "seed_type": ["seed"],
    "id": ["wg_01M7Z27KJRA9GCAW18V33B0DQA"],
    "attempt": [1],
    "state": ["accepted", "radio", "sent", "delivered", "failed", "cancelled"],
    "error": ["no signal"],
    "at": [1.5],
}
"""Each endpoint ignores what is another's; so all of them are given all, one of them wrong or missing now and then."""
WANTED = {
    "/api/v1/send-otp": ("phone", "template_key"),
    "/api/v1/dispatch": ("phone", "message", "template_key", "priority"),
    "/api/v1/verify-otp": ("reference_id", "code"),
    "/seeds/ping": ("IMSI", "MSISDN", "seed_type"),
}


@st.composite
def bodies(draw: st.DrawFn, target: str) -> bytes:
    """JSON text: junk, or nearly what the call takes, with keys that come twice."""
    if draw(st.integers(0, 3)) == 0:
        return _text(draw(junk)).encode()
    wanted = WANTED.get(target, ("id", "attempt", "state", "error", "at"))
    items = [(name, draw(st.one_of(st.sampled_from(FIELDS[name]), st.sampled_from(FIELDS[name]), junk))) for name in wanted]
    names = draw(st.lists(st.sampled_from(range(len(items))), max_size=len(items) + 1)) if draw(st.booleans()) else range(len(items))
    pairs = [items[place] for place in names] + draw(st.lists(st.tuples(texts, junk), max_size=2))
    one = "{" + ",".join(f"{_text(name)}:{_text(value)}" for name, value in pairs) + "}"
    return (f"[{one}]" if target.endswith("reports") and draw(st.integers(0, 5)) else one).encode()


def _text(value: Any) -> str:
    """ASCII, so that surrogates are escapes; NaN and Infinity as Python writes them."""
    with contextlib.suppress(ValueError):  # ints that Python does not write
        return json.dumps(value)
    return "1" + "0" * 4400


@posts
def test_bodies_that_are_json(caller: Caller, dialect: str, target: str) -> None:
    @FUZZ
    @given(bodies(target))
    def run(body: bytes) -> None:
        caller.call(dialect, "POST", target, body)

    run()


@posts
def test_bodies_that_are_bytes(caller: Caller, dialect: str, target: str) -> None:
    """And good JSON with one byte changed."""
    good = json.dumps({name: FIELDS[name][0] for name in WANTED.get(target, ("id", "attempt", "state"))}).encode()
    good = b"[" + good + b"]" if dialect == "seeds" else good
    changed = st.tuples(st.integers(0, len(good)), st.binary(max_size=3)).map(lambda cut: good[: cut[0]] + cut[1] + good[cut[0] + 1 :])

    @FUZZ
    @given(st.one_of(st.binary(max_size=200), changed))
    def run(body: bytes) -> None:
        caller.call(dialect, "POST", target, body)

    run()


@posts
@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b"0", b'""', b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b'{"a":1}{"a":1}', b"{'phone':'1'}", b"phone=1",
     b"[" * 60_000, b'{"a":' * 12_000, b'{"phone":"1","IMSI":"1","a":' + b"[" * 60_000, b'[{"id":"1","a":' + b"[" * 60_000,
     b'{"phone":"\xff"}', b'{"phone":"\\ud800"}', b'{"reference_id":"\\udfff","code":"\\ud800"}',
     b'[{"id":"\\ud800","attempt":1,"state":"sent"}]',
     b'{"phone":' + b"9" * 10_000 + b"}", b'{"reference_id":"a","code":' + b"9" * 10_000 + b"}", b'{"reference_id":"a","code":-1e400}',
     b'[{"id":"a","attempt":' + b"9" * 10_000 + b',"state":"sent"}]', b'[{"id":"a","attempt":1,"state":"sent","at":1e400}]',
     b'{"IMSI":' + b"9" * 10_000 + b"}"],
    ids=lambda body: repr(body[:24]),
)  # fmt: skip
def test_bodies_that_break_parsers(caller: Caller, dialect: str, target: str, body: bytes) -> None:
    answer = caller.call(dialect, "POST", target, body)

    assert answer.status in ((400,) if dialect == "relaysms" else (422,)) or (body == b"[]" and dialect == "seeds")


@posts
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_megabyte_is_413(caller: Caller, dialect: str, target: str, chunked: bool) -> None:
    """However its length is told."""
    body = b'{"phone":"' + b"1" * 1_000_000 + b'"}'
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    headers = bearer(caller.tokens[dialect])
    if chunked:
        answer = caller.send("POST", target, headers | {"Content-Length": None, "Transfer-Encoding": "chunked"}, chunks)  # type: ignore[dict-item]
    else:
        answer = caller.send("POST", target, headers, body)

    assert answer.status == 413
    caller.check(dialect, answer)


@posts
@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "text/html; charset=utf-16", "application/x-www-form-urlencoded", "multipart/form-data",
     "multipart/form-data; boundary=x",
     "application/msgpack", "application/xml", "application/json; charset=latin-1", "nonsense", "/", ";;;=", "application/json, text/html"],
)  # fmt: skip
def test_the_content_type_does_not_matter(caller: Caller, dialect: str, target: str, content_type: str) -> None:
    """JSON is JSON, whatever it is called; the answer is the one without it."""
    name = {"/api/v1/verify-otp": ("reference_id", "code")}.get(target, WANTED.get(target, ()))
    body = json.dumps({field: FIELDS[field][0] for field in name}).encode() if name else b"[]"
    answer = caller.call(dialect, "POST", target, body, **{"Content-Type": content_type})

    assert answer.status == caller.call(dialect, "POST", target, body).status


# Headers


header_values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60)


@everywhere
def test_authorization_that_is_odd(caller: Caller, dialect: str, target: str, method: str) -> None:
    """401 where a key is asked for, whatever it looks like."""

    @FUZZ
    @given(
        st.one_of(
            header_values,
            header_values.map("Bearer {}".format),
            st.sampled_from(
                ["", "Bearer", "Bearer ", "bearer  ", "Basic YTpi", "Bearer null", "Bearer " + "x" * 20_000, f"Token {caller.key}",
                 f"Bearer {caller.key} x", f"Bearer {caller.key},Bearer {caller.key}", f"{caller.key}", f"Bearer,{caller.key}"]
            ),
        )
    )  # fmt: skip
    def run(value: str) -> None:
        answer = caller.send(method, target, {"Authorization": value}, b"{}" if method == "POST" else b"")
        caller.check(dialect, answer)

        assert answer.status in (200, 400, 401) if dialect == "relaysms" else answer.status == 401, (value, answer)

    run()


@everywhere
def test_without_authorization(caller: Caller, dialect: str, target: str, method: str) -> None:
    answer = caller.send(method, target, {}, b"\xff" if method == "POST" else b"")
    caller.check(dialect, answer)

    assert answer.status == (401 if dialect != "relaysms" else 400 if method == "POST" else 200)


@everywhere
def test_headers_that_are_odd(caller: Caller, dialect: str, target: str, method: str) -> None:
    names = st.sampled_from(
        ["Idempotency-Key", "Accept", "Content-Type", "Cookie", "Origin", "X-Forwarded-For", "Accept-Encoding", "Range"]
    )

    @FUZZ
    @given(st.dictionaries(names, header_values, max_size=4))
    def run(headers: dict[str, str]) -> None:
        caller.call(dialect, method, target, b"{}" if method == "POST" else b"", **headers)

    run()


@everywhere
@pytest.mark.parametrize(
    "host", ["", "[", "]", "[::1", "a/b", "é", "x" * 300, "x:y", "x:99999999"]
)
def test_hosts_that_are_odd(caller: Caller, dialect: str, target: str, method: str, host: str) -> None:
    """Their refusals have the dialect's shape too: a wrong token makes one."""
    path = target if dialect != "relaysms" else f"{target}/no/such/path"
    shape = "seeds" if path.startswith("/seeds/") else dialect
    caller.check(shape, caller.send(method, path, bearer("wrong") | {"Host": host}, b"{}" if method == "POST" else b""))


# Paths


segments = st.one_of(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="?#%"), max_size=30),
    st.binary(max_size=12).map(lambda raw: "".join(f"%{byte:02x}" for byte in raw)),
    st.text(max_size=8).map(lambda text: "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))),
    st.sampled_from(
        ["%00", "%", "%zz", "%2", "..", "%2e%2e", "%2F", "%5c", "%ED%A0%80", "%F0%9F", "{}", "%7D", "*", "ping", "wg_" + "1" * 4000]
    ),
)


@pytest.mark.parametrize(
    ("dialect", "method", "shape"),
    [("gatewire", "GET", "/api/v1/status/{}"), ("gatewire", "POST", "/api/v1/{}"), ("relaysms", "GET", "/seeds/{}"),
     ("seeds", "GET", "/seeds/{}/messages?wait=0"), ("seeds", "POST", "/seeds/{}/reports"), ("seeds", "GET", "/seeds/1/{}")],
)  # fmt: skip
def test_paths_that_are_odd(caller: Caller, dialect: str, method: str, shape: str) -> None:
    """Never another's data, and never a server error."""

    @FUZZ
    @given(segments.filter(bool))
    def run(segment: str) -> None:
        answer = caller.send(method, shape.format(segment), bearer(caller.tokens[dialect]), b"[]" if method == "POST" else b"")

        assert answer.status < 500, (segment, answer)
        if answer.status >= 400 and "/" not in segment and "%2" not in segment:
            caller.check(_dialect_of(shape.format(segment), dialect), answer)

    run()


def _dialect_of(path: str, otherwise: str) -> str:
    """`/seeds/1/.` and the like are the seed itself."""
    return "relaysms" if otherwise == "seeds" and path.split("?", maxsplit=1)[0].count("/") < 3 else otherwise


@pytest.mark.parametrize(("dialect", "target"), [GETS["status"], GETS["messages"], GETS["list"], POSTS["send-otp"]])
def test_queries_that_are_odd(caller: Caller, dialect: str, target: str) -> None:
    @FUZZ
    @given(st.lists(st.tuples(st.sampled_from(["max", "x", "%00", "%FF", ""]), segments), max_size=4))
    def run(query: list[tuple[str, str]]) -> None:
        joined = "&".join(f"{name}={value}" for name, value in query)
        caller.call(dialect, "POST" if "send" in target else "GET", f"{target}{'&' if '?' in target else '?'}{joined}")

    run()


@everywhere
@pytest.mark.parametrize("verb", ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"])
def test_other_methods(caller: Caller, dialect: str, target: str, method: str, verb: str) -> None:
    answer = caller.call(dialect, verb, target)

    assert answer.status == (204 if verb == "OPTIONS" else 405)


def test_a_request_that_breaks_off_harms_nobody(caller: Caller) -> None:
    """Half a head, half a body: the next one is served."""
    for part in (b"POST /api/v1/send-otp HT", b"POST /api/v1/send-otp HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"):
        with socket.create_connection(("127.0.0.1", caller.port), timeout=10) as connection:
            connection.sendall(part)

    assert caller.call("gatewire", "GET", "/api/v1/balance").status == 200
