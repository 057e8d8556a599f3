"""Who may call SMSGate's API: its tokens over HTTP, whoever attacks them, and the real Python client."""

import asyncio
import base64
import hashlib
import hmac
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.conformance.conftest import Start
from tests.conftest import require
from tests.stack import Stack

PREFIXES = ("/3rdparty/v1", "/api/3rdparty/v1")
PASSWORD = "correct horse battery"
UNAUTHORIZED = {"message": "Unauthorized"}
_logins = itertools.count(1)
_rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_public_pem = _rsa.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(claims: dict[str, Any], key: bytes, alg: Any = "HS256", digest: str = "sha256", **header: Any) -> str:
    """By hand: PyJWT refuses to make most of what an attacker would. `...` for the algorithm leaves it out."""
    parts = ({"typ": "JWT"} | ({} if alg is ... else {"alg": alg}) | header, claims)
    signed = ".".join(base64url(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{base64url(hmac.new(key, signed.encode(), getattr(hashlib, digest)).digest())}"


def without(claims: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if name not in names}


def claims_of(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


class Shop:
    """An application with a login, that calls the 3rd-party API."""

    prefix = PREFIXES[0]

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.login = f"shop{next(_logins)}"
        self.account = stack.account(login=self.login, password=PASSWORD)
        self.key = json.loads((stack.data / "secrets.json").read_text())["jwt_secret"].encode()

    def call(
        self, method: str, path: str, token: str | None = None, *, header: str | None = None, prefix: str = PREFIXES[0], **arguments: Any
    ) -> httpx.Response:
        """With the password, or with a token, or with any `Authorization` header (bytes as latin-1)."""
        password = base64.b64encode(f"{self.login}:{PASSWORD}".encode()).decode()
        value = header if header is not None else f"Basic {password}" if token is None else f"Bearer {token}"
        # httpx sends no blank at the end
        headers = {"Authorization": value.rstrip().encode("latin-1", "replace")} if value else {}
        return self.stack.http.request(method, prefix + path, headers=headers, **arguments)

    def grant(self, *scopes: str, token: str | None = None, **body: Any) -> dict[str, Any]:
        answer = self.call("POST", "/auth/token", token, json={"scopes": list(scopes)} | body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def refresh(self, pair: dict[str, Any]) -> httpx.Response:
        return self.call("POST", "/auth/token/refresh", pair["refresh_token"])

    def status(self, token: str) -> int:
        """404 with a good token, whatever it may do; what is there is nobody's business else."""
        return self.call("GET", "/no/such/path", token).status_code


@pytest.fixture
def shop(stack: Stack) -> Shop:
    return Shop(stack)


class TestGrant:
    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_both_spellings(self, target: Shop, prefix: str) -> None:
        """201; every field as each of SMSGate's clients reads it; times in UTC with Z."""
        answer = target.call("POST", "/auth/token", json={"scopes": ["messages:send"], "ttl": 60}, prefix=prefix)
        pair = answer.json()

        assert 201 == answer.status_code
        assert ("Bearer", "Bearer") == (pair["token_type"], pair["tokenType"])
        assert (pair["accessToken"], pair["refreshToken"]) == (pair["access_token"], pair["refresh_token"])
        assert pair["expiresAt"] == pair["expires_at"]
        assert pair["expires_at"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(claims_of(pair["access_token"])["exp"]))
        assert pair["id"] == claims_of(pair["access_token"])["jti"]
        assert 9 == len(pair)

    @pytest.mark.parametrize(
        ("body", "status", "text"),
        [
            (b"", 400, ""), (b"{", 400, ""), (b"[]", 400, ""), (b"null", 400, ""), (b"[" * 5000, 400, ""), (b"\xff", 400, ""),
            (b"{}", 400, "scopes"), (b'{"scopes": []}', 400, "scopes"), (b'{"scopes": "all:any"}', 400, "scopes"),
            (b'{"scopes": [""]}', 400, "scopes"), (b'{"scopes": ["messages:sent"]}', 400, "messages:sent"),
            (b'{"scopes": ["tokens:refresh"]}', 400, "tokens:refresh"), (b'{"scopes": [1]}', 400, "scopes"),
            (b'{"scopes": ["\\ud800"]}', 400, ""), (b'{"scopes": ["\\u200f\\n"]}', 400, "scopes"),
            (b'{"scopes": ["all:any"], "ttl": -1}', 400, "ttl"), (b'{"scopes": ["all:any"], "ttl": 1.5}', 400, "ttl"),
            (b'{"scopes": ["all:any"], "ttl": true}', 400, "ttl"), (b'{"scopes": ["all:any"], "ttl": "60"}', 400, "ttl"),
            (b'{"scopes": ["all:any"], "ttl": 1e400}', 400, ""),
        ],
    )  # fmt: skip
    def test_wrong_requests(self, target: Shop, body: bytes, status: int, text: str) -> None:
        """400 that says what is wrong; without credentials each is 401, and with too small a token 403."""
        answer = target.call("POST", "/auth/token", content=body)
        small = target.grant("messages:send")["access_token"]

        assert status == answer.status_code
        assert ["message"] == list(answer.json())
        assert text in answer.json()["message"]
        assert (401, UNAUTHORIZED) == outcome(target.call("POST", "/auth/token", header="", content=body))
        refused = (403, {"message": "scope required: tokens:manage"})
        assert refused == outcome(target.call("POST", "/auth/token", small, content=body))

    @pytest.mark.parametrize(("ttl", "granted"), [(None, 900), (0, 900), (1, 1), (900, 900), (901, 900), (10**25, 900)])
    def test_ttl(self, target: Shop, ttl: int | None, granted: int) -> None:
        """0, null and absent are the maximum, more is clamped."""
        claims = claims_of(target.grant("messages:send", ttl=ttl)["access_token"])

        assert granted == claims["exp"] - claims["iat"]

    def test_escalation(self, shop: Shop) -> None:
        """A token gives what it holds, and nothing else; what it gave is no way round it."""
        token = shop.grant("tokens:manage", "messages:send")["access_token"]
        for wanted in (["all:any"], ["messages:read"], ["messages:send", "devices:delete"]):
            answer = shop.call("POST", "/auth/token", token, json={"scopes": wanted})
            assert (403, {"message": f"scope required: {wanted[-1]}"}) == outcome(answer)
        smaller = shop.grant("messages:send", token=token)

        assert ["messages:send"] == claims_of(smaller["access_token"])["scopes"]
        assert 403 == shop.call("POST", "/auth/token", smaller["access_token"], json={"scopes": ["messages:send"]}).status_code
        assert ["messages:send"] == claims_of(shop.refresh(smaller).json()["access_token"])["scopes"]

    def test_nothing_of_it_is_logged(self, shop: Shop) -> None:
        """Neither tokens nor passwords."""
        pair = shop.grant("all:any")
        shop.refresh(pair)
        shop.refresh(pair)
        log = shop.stack.log("api")

        assert "tokens.replayed" in log
        assert not any(secret in log for secret in (PASSWORD, pair["access_token"], pair["refresh_token"], shop.key.decode()))


def outcome(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json() if answer.content else None


class Shown(msgspec.Struct, frozen=True):
    """A good pair, its claims, and the key: what the attacks are made of."""

    access: str
    refresh: str
    claims: dict[str, Any]
    refresh_claims: dict[str, Any]
    key: bytes


def rs256(shown: Shown) -> str:
    return jwt.encode(shown.claims, _rsa, algorithm="RS256")


def flipped(token: str) -> str:
    """The last character of the payload's middle is another one."""
    head, payload, signature = token.split(".")
    at = len(payload) // 2
    return f"{head}.{payload[:at]}{'A' if payload[at] != 'A' else 'B'}{payload[at + 1 :]}.{signature}"


def swapped(shown: Shown) -> str:
    """More scopes below the old signature."""
    head, _, signature = shown.access.split(".")
    return f"{head}.{base64url(json.dumps(shown.claims | {'scopes': ['all:any']}).encode())}.{signature}"


def unsigned(claims: dict[str, Any], alg: Any) -> str:
    return forge(claims, b"", alg).rpartition(".")[0] + "."


_LATER, _BEFORE = 3600, -3600
ATTACKS: dict[str, Callable[[Shown], str]] = {
    # The algorithm
    "alg none": lambda shown: unsigned(shown.claims, "none"),
    "alg None": lambda shown: unsigned(shown.claims, "None"),
    "alg nOnE": lambda shown: unsigned(shown.claims, "nOnE"),
    "alg none, signed": lambda shown: forge(shown.claims, shown.key, "none"),
    "alg empty": lambda shown: forge(shown.claims, shown.key, ""),
    "alg null": lambda shown: forge(shown.claims, shown.key, None),
    "alg is a list": lambda shown: forge(shown.claims, shown.key, ["HS256"]),
    "alg is a number": lambda shown: forge(shown.claims, shown.key, 256),
    "alg in lower case": lambda shown: forge(shown.claims, shown.key, "hs256"),
    "HS384 with the right secret": lambda shown: forge(shown.claims, shown.key, "HS384", "sha384"),
    "HS512 with the right secret": lambda shown: forge(shown.claims, shown.key, "HS512", "sha512"),
    "HS256 in the header, HS512 in truth": lambda shown: forge(shown.claims, shown.key, "HS256", "sha512"),
    "RS256 with a key of one's own": rs256,
    "RS256 in the header, signed with the secret": lambda shown: forge(shown.claims, shown.key, "RS256"),
    "HS256 signed with a public key": lambda shown: forge(shown.claims, _public_pem),
    "no alg": lambda shown: forge(shown.claims, shown.key, ...),
    "a key of one's own in the header": lambda shown: forge(
        shown.claims, b"mine", jwk={"kty": "oct", "k": base64url(b"mine")}, jku="http://127.0.0.1:9/jwks", kid="../../dev/null"
    ),
    "a critical extension": lambda shown: forge(shown.claims, shown.key, crit=["exp"], exp=0),
    "a payload that is not encoded": lambda shown: forge(shown.claims, shown.key, b64=False, crit=["b64"]),
    # The secret
    "wrong secret": lambda shown: forge(shown.claims, b"x" * 32),
    "empty secret": lambda shown: forge(shown.claims, b""),
    "secret cut off": lambda shown: forge(shown.claims, shown.key[:-1]),
    "secret and a newline": lambda shown: forge(shown.claims, shown.key + b"\n"),
    "signature of none": lambda shown: shown.access.rpartition(".")[0] + ".",
    "signature of another": lambda shown: shown.access.rpartition(".")[0] + "." + shown.refresh.rpartition(".")[2],
    "one bit of the payload": lambda shown: flipped(shown.access),
    "more scopes under the old signature": swapped,
    # The time
    "expired": lambda shown: forge(shown.claims | {"iat": int(time.time()) - 7200, "exp": int(time.time()) + _BEFORE}, shown.key),
    "expired this second": lambda shown: forge(shown.claims | {"exp": int(time.time())}, shown.key),
    "issued in the future": lambda shown: forge(shown.claims | {"iat": int(time.time()) + _LATER}, shown.key),
    "issued in a minute": lambda shown: forge(shown.claims | {"iat": int(time.time()) + 60}, shown.key),
    "not before an hour": lambda shown: forge(shown.claims | {"nbf": int(time.time()) + _LATER}, shown.key),
    "no exp": lambda shown: forge(without(shown.claims, "exp"), shown.key),
    "exp null": lambda shown: forge(shown.claims | {"exp": None}, shown.key),
    "exp a text": lambda shown: forge(shown.claims | {"exp": "9999999999"}, shown.key),
    "exp infinite": lambda shown: forge(shown.claims | {"exp": float("inf")}, shown.key),
    "exp not a number": lambda shown: forge(shown.claims | {"exp": float("nan")}, shown.key),
    "exp a fraction": lambda shown: forge(shown.claims | {"exp": 9999999999.5}, shown.key),
    "no iat": lambda shown: forge(without(shown.claims, "iat"), shown.key),
    # The other claims, with the right secret: whoever else has it mints nothing that we know of
    "no jti": lambda shown: forge(without(shown.claims, "jti"), shown.key),
    "no sub": lambda shown: forge(without(shown.claims, "sub"), shown.key),
    "no iss": lambda shown: forge(without(shown.claims, "iss"), shown.key),
    "no scopes": lambda shown: forge(without(shown.claims, "scopes"), shown.key),
    "another issuer": lambda shown: forge(shown.claims | {"iss": "sms-gateway"}, shown.key),
    "an audience": lambda shown: forge(shown.claims | {"aud": "seedrouter"}, shown.key),
    "a family that never was": lambda shown: forge(shown.claims | {"jti": "A" * 14 + "000001a"}, shown.key),
    "a generation to come": lambda shown: forge(shown.claims | {"jti": shown.claims["jti"][:14] + "000002a"}, shown.key),
    "no generation": lambda shown: forge(shown.claims | {"jti": shown.claims["jti"][:14] + "000000a"}, shown.key),
    "a jti like a key": lambda shown: forge(shown.claims | {"jti": "}:tokens{"}, shown.key),
    "another account": lambda shown: forge(shown.claims | {"sub": "ac_01", "user_id": "ac_01"}, shown.key),
    "another user_id": lambda shown: forge(shown.claims | {"user_id": "ac_01"}, shown.key),
    "a password to come": lambda shown: forge(shown.claims | {"rev": 1}, shown.key),
    "access that says it refreshes": lambda shown: forge(shown.claims | {"scopes": ["tokens:refresh"]}, shown.key),
    "refresh that says it may all": lambda shown: forge(shown.refresh_claims | {"scopes": ["all:any"]}, shown.key),
    "refresh that may refresh and all": lambda shown: forge(shown.refresh_claims | {"scopes": ["tokens:refresh", "all:any"]}, shown.key),
    "claims that are a list": lambda shown: forge([shown.claims], shown.key),  # type: ignore[arg-type]
    "claims that are deep": lambda shown: f"{shown.access.split('.')[0]}.{base64url(b'[' * 2000)}.x",
    "a header that is deep": lambda _: f"{base64url(b'[' * 2500)}.e30.x",
    "a header with a huge number": lambda _: f"{base64url(b'9' * 2900)}.e30.x",
    # No token at all
    "empty": lambda _: "",
    "garbage": lambda _: "garbage",
    "two dots": lambda _: "..",
    "many dots": lambda _: "." * 1000,
    "not ASCII": lambda _: "é.è.ê",
    "half of it": lambda shown: shown.access[: len(shown.access) // 2],
    "without its last character": lambda shown: shown.access[:-1],
    "without its last part": lambda shown: shown.access.rpartition(".")[0],
    "twice": lambda shown: f"{shown.access}.{shown.access}",
    "with another behind it": lambda shown: f"{shown.access} {shown.access}",
    "with another behind a comma": lambda shown: f"{shown.access}, Bearer {shown.access}",
    "in quotes": lambda shown: f'"{shown.access}"',
    "endless": lambda shown: shown.access + "A" * 20_000,
    "the id": lambda shown: str(shown.claims["jti"]),
}


@pytest.fixture(scope="module")
def target(stack: Stack) -> Shop:
    """The shop that is attacked."""
    return Shop(stack)


@pytest.fixture(scope="module")
def shown(target: Shop) -> Shown:
    """What the attackers have seen, or more."""
    pair = target.grant("tokens:manage", "messages:send")
    access, refresh = pair["access_token"], pair["refresh_token"]
    return Shown(access, refresh, claims_of(access), claims_of(refresh), target.key)


class TestAttacks:
    @pytest.mark.parametrize("name", ATTACKS)
    def test_refused(self, target: Shop, shown: Shown, name: str) -> None:
        """401 for reading, for granting and for refreshing, with nothing of the reason; the good pair stays good."""
        token = ATTACKS[name](shown)
        grant = {"scopes": ["messages:send"]}

        assert (401, UNAUTHORIZED) == outcome(target.call("GET", "/no/such/path", token))
        assert (401, UNAUTHORIZED) == outcome(target.call("POST", "/auth/token", token, json=grant))
        assert (401, UNAUTHORIZED) == outcome(target.call("POST", "/auth/token/refresh", token))
        assert (401, UNAUTHORIZED) == outcome(target.call("DELETE", f"/auth/token/{shown.claims['jti']}", token))
        assert 404 == target.status(shown.access)

    def test_the_same_by_hand_is_good(self, target: Shop, shown: Shown) -> None:
        """What the attacks are made with makes a good token too: each fails for its own reason."""
        assert 404 == target.status(forge(shown.claims, shown.key))
        assert 403 == outcome(target.call("POST", "/auth/token/refresh", forge(shown.claims, shown.key)))[0]

    @pytest.mark.parametrize(
        "header",
        ["", "Bearer", "Basic", "Token {}", "JWT {}", "Digest {}", "{}", "Basic {}", "Code 123456", "é", "Bearer\t{}"],
    )
    def test_another_scheme(self, target: Shop, shown: Shown, header: str) -> None:
        assert (401, UNAUTHORIZED) == outcome(target.call("GET", "/no/such/path", header=header.format(shown.access)))

    def test_in_the_query(self, target: Shop, shown: Shown) -> None:
        """A token is taken from the header alone: what stands in an address is written down on the way."""
        for name in ("access_token", "token", "authorization"):
            answer = target.call("GET", "/no/such/path", header="", params={name: shown.access})
            assert 401 == answer.status_code


class TestLife:
    def test_refresh_for_access(self, shop: Shop) -> None:
        """403: a refresh token does nothing else. It stays good."""
        pair = shop.grant("all:any")
        for method, path in (("POST", "/auth/token"), ("DELETE", "/auth/token/x")):
            answer = shop.call(method, path, pair["refresh_token"], json={"scopes": ["messages:send"]})
            assert (403, {"message": "scope required: tokens:manage"}) == outcome(answer)

        assert 201 == shop.refresh(pair).status_code

    def test_access_for_refresh(self, shop: Shop) -> None:
        """403, for the password too; the pair stays good."""
        pair = shop.grant("all:any")
        refused = (403, {"message": "scope required: tokens:refresh"})

        assert refused == outcome(shop.call("POST", "/auth/token/refresh", pair["access_token"]))
        assert refused == outcome(shop.call("POST", "/auth/token/refresh"))
        assert 201 == shop.refresh(pair).status_code

    def test_replayed_refresh(self, shop: Shop) -> None:
        """401, and the family is dead: the tokens that came of the replayed one, whoever has them."""
        pair, other = shop.grant("tokens:manage"), shop.grant("tokens:manage")
        newer = shop.refresh(pair).json()
        assert 404 == shop.status(newer["access_token"])

        assert (401, UNAUTHORIZED) == outcome(shop.refresh(pair))
        assert [401, 401] == [shop.status(each["access_token"]) for each in (pair, newer)]
        assert [401, 401] == [shop.refresh(each).status_code for each in (pair, newer)]
        assert 404 == shop.status(other["access_token"])

    def test_two_refreshes_at_once(self, shop: Shop) -> None:
        """One wins, and every other one is a replay."""
        pair = shop.grant("all:any")

        async def all_at_once() -> list[int]:
            async with httpx.AsyncClient(base_url=shop.stack.url, timeout=30) as http:
                headers = {"Authorization": f"Bearer {pair['refresh_token']}"}
                calls = [http.post(f"{shop.prefix}/auth/token/refresh", headers=headers) for _ in range(10)]
                return sorted(answer.status_code for answer in await asyncio.gather(*calls))

        assert [201] + [401] * 9 == asyncio.run(all_at_once())

    def test_revoked(self, shop: Shop) -> None:
        """204; its refresh token is void with it. 204 too for what is nobody's, and nothing happens to another's."""
        pair, other, manager = shop.grant("all:any"), shop.grant("all:any"), shop.grant("tokens:manage")["access_token"]
        stranger = Shop(shop.stack)
        for jti in ("unknown", "A" * 21, "%20", "..%5C..", "%7D%7B", "x" * 3000):
            assert 204 == shop.call("DELETE", f"/auth/token/{jti}", manager).status_code
        assert 204 == stranger.call("DELETE", f"/auth/token/{pair['id']}").status_code
        assert 404 == shop.status(pair["access_token"])
        assert (204, None) == outcome(shop.call("DELETE", f"/auth/token/{pair['id']}", manager))

        assert [401, 404] == [shop.status(each["access_token"]) for each in (pair, other)]
        assert [401, 201] == [shop.refresh(each).status_code for each in (pair, other)]

    def test_a_token_revokes_itself(self, shop: Shop) -> None:
        pair = shop.grant("tokens:manage")

        assert 204 == shop.call("DELETE", f"/auth/token/{pair['id']}", pair["access_token"]).status_code
        assert 401 == shop.call("DELETE", f"/auth/token/{pair['id']}", pair["access_token"]).status_code

    def test_a_changed_password(self, shop: Shop) -> None:
        """The old password and all tokens are refused right after it; the new one is taken."""
        pair = shop.grant("all:any")
        assert 404 == shop.call("GET", "/no/such/path").status_code
        shop.stack.operator("PUT", f"/accounts/{shop.account['id']}/password", {"password": "another long password"})

        assert [401, 401] == [shop.status(pair["access_token"]), shop.refresh(pair).status_code]
        assert (401, UNAUTHORIZED) == outcome(shop.call("GET", "/no/such/path"))
        renewed = shop.stack.http.get(f"{shop.prefix}/no/such/path", auth=(shop.login, "another long password"))
        assert 404 == renewed.status_code

    def test_a_disabled_account(self, shop: Shop) -> None:
        """403 for its password and its tokens, until it is enabled again."""
        pair = shop.grant("all:any")
        path = f"/accounts/{shop.account['id']}"
        shop.stack.operator("PATCH", path, {"enabled": False})
        refused = [shop.status(pair["access_token"]), shop.call("GET", "/no/such/path").status_code, shop.refresh(pair).status_code]
        shop.stack.operator("PATCH", path, {"enabled": True})

        assert [403, 403, 403] == refused
        assert 404 == shop.status(pair["access_token"])


class TestPaths:
    @pytest.mark.parametrize("prefix", PREFIXES)
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    @pytest.mark.parametrize("path", ["", "/", "/nope", "/auth", "/auth/token/a/b", "/messages/a/b/c", "/health/nope", "/%00", "/é"])
    def test_unknown(self, target: Shop, prefix: str, method: str, path: str) -> None:
        """401 without credentials, 404 with them, as JSON."""
        known = target.call(method, path, prefix=prefix)

        assert (401, UNAUTHORIZED) == outcome(target.call(method, path, header="", prefix=prefix))
        assert (401, UNAUTHORIZED) == outcome(target.call(method, path, header="Bearer x", prefix=prefix))
        assert (404, ["message"], "application/json") == (known.status_code, list(known.json()), known.headers["content-type"])

    @pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE"])
    def test_another_method(self, target: Shop, method: str) -> None:
        """Not allowed, and never a server error."""
        for path in ("/auth/token", "/auth/token/x"):
            assert target.call(method, path).status_code == (204 if method == "OPTIONS" else 405)

    def test_health(self, stack: Stack) -> None:
        """For everybody, below both prefixes; what was looked at, in SMSGate's shape."""
        for prefix, path in itertools.product(PREFIXES, ("/health", "/health/live", "/health/ready", "/health/startup")):
            answer = stack.http.get(prefix + path)
            body = answer.json()
            assert (200, "pass") == (answer.status_code, body["status"])
            assert body["version"]
            if path != "/health/live":
                assert {"process", "store", "queue"} == set(body["checks"])
                store = body["checks"]["store"]
                assert isinstance(store.pop("observedValue"), int)
                assert {"status": "pass", "description": "the store answers", "observedUnit": "ms"} == store


def test_tokens_off(start: Start) -> None:
    """Where tokens are turned off: the endpoints are 501 for the password, every Bearer is 401, and the password does the rest."""
    with start(SEEDROUTER_TOKENS="false") as stack:
        shop = Shop(stack)
        forged = forge({"sub": shop.account["id"]}, shop.key)

        for method, path in (("POST", "/auth/token"), ("POST", "/auth/token/refresh"), ("DELETE", "/auth/token/x")):
            status, body = outcome(shop.call(method, path, json={"scopes": ["all:any"]}))
            assert (501, ["message"]) == (status, list(body))
            assert (401, UNAUTHORIZED) == outcome(shop.call(method, path, forged))
            assert (401, UNAUTHORIZED) == outcome(shop.call(method, path, header=""))
        assert 404 == shop.call("GET", "/no/such/path").status_code
        assert 401 == shop.status(forged)


class TestCommands:
    @staticmethod
    def run(stack: Stack, *words: str, given: str = "") -> str:
        environment = os.environ | {"SEEDROUTER_URL": stack.url, "SEEDROUTER_OPERATOR_TOKEN": stack.operator_token}
        command = [sys.executable, "-m", "router.cli.main", *words]
        done = subprocess.run(command, env=environment, input=given, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def test_an_account_with_a_login(self, stack: Stack) -> None:
        """`accounts create --login --password` makes one that can call; `accounts password` gives it another password."""
        made = json.loads(self.run(stack, "accounts", "create", "cli", "--login", "cli", "--password", PASSWORD, "--json"))
        path = f"{PREFIXES[0]}/no/such/path"
        assert 404 == stack.http.get(path, auth=("cli", PASSWORD)).status_code
        told = self.run(stack, "accounts", "password", made["id"], "--password", "given as an option")
        assert [401, 404] == [stack.http.get(path, auth=("cli", word)).status_code for word in (PASSWORD, "given as an option")]
        self.run(stack, "accounts", "password", "cli", "--json", given="typed, and typed again\ntyped, and typed again\n")

        assert "cli" in told
        assert 404 == stack.http.get(path, auth=("cli", "typed, and typed again")).status_code

    def test_a_login_for_an_account_without(self, stack: Stack) -> None:
        account = stack.account(name="keys only")
        self.run(stack, "accounts", "password", account["id"], "--login", "later", "--password", PASSWORD)

        assert 404 == stack.http.get(f"{PREFIXES[0]}/no/such/path", auth=("later", PASSWORD)).status_code


def sms_gateway() -> Any:
    """The package, with its `errors`."""
    installed = importlib.util.find_spec("android_sms_gateway")
    require(installed, "android-sms-gateway (pip install android-sms-gateway==4.3.3)")
    importlib.import_module("android_sms_gateway.errors")
    return importlib.import_module("android_sms_gateway")


def sync_refresh(shop: Shop, refresh_token: str) -> Any:
    """By the synchronous client: the asynchronous one of 4.3.3 forgets an argument here, and calls nobody."""
    sms = sms_gateway()
    with sms.APIClient(shop.login, PASSWORD, base_url=shop.stack.url + shop.prefix) as client:
        return client.refresh_token(refresh_token)


class TestClient:
    """PyPI `android-sms-gateway`, unchanged."""

    @pytest.fixture(params=["sync", "async"])
    def call(self, request: pytest.FixtureRequest, shop: Shop) -> Callable[..., Any]:
        """Calls a method of the client, with the password or with a token."""
        sms = sms_gateway()
        base_url = shop.stack.url + shop.prefix

        async def call_async(method: str, *arguments: Any, **about: Any) -> Any:
            async with sms.AsyncAPIClient(**about, base_url=base_url) as client:
                return await getattr(client, method)(*arguments)

        def call(method: str, *arguments: Any, token: str | None = None) -> Any:
            about = {"login": None, "password": token} if token else {"login": shop.login, "password": PASSWORD}
            if request.param == "async":
                return asyncio.run(call_async(method, *arguments, **about))
            with sms.APIClient(**about, base_url=base_url) as client:
                return getattr(client, method)(*arguments)

        return call

    def test_tokens(self, shop: Shop, call: Callable[..., Any]) -> None:
        """Grant, refresh, revoke; with the password and with a token."""
        sms = sms_gateway()
        first = call("generate_token", sms.TokenRequest(scopes=["tokens:manage"], ttl=60))
        second = sync_refresh(shop, first.refresh_token)
        third = call("generate_token", sms.TokenRequest(scopes=["tokens:manage"]), token=second.access_token)
        assert ("Bearer", 404) == (third.token_type, shop.status(third.access_token))
        call("revoke_token", third.id, token=second.access_token)

        assert 401 == shop.status(third.access_token)
        with pytest.raises(sms.errors.UnauthorizedError):
            sync_refresh(shop, third.refresh_token)
        with pytest.raises(sms.errors.ForbiddenError):
            call("generate_token", sms.TokenRequest(scopes=["all:any"]), token=second.access_token)
        with pytest.raises(sms.errors.BadRequestError):
            call("generate_token", sms.TokenRequest(scopes=["no:such"]))

    def test_health(self, call: Callable[..., Any]) -> None:
        for method in ("health_check", "liveness_check", "readiness_check", "startup_check"):
            found = call(method)
            assert ("pass", "pass") == (found.status.value, found.checks["store"].status.value if found.checks else "pass")
