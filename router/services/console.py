"""Who may use the console: sessions that begin with the operator token.

A session is an id that is signed and kept. The signature's key is made of the operator token, so a new token ends all sessions. The id
stands in Redis, so a session that was ended is over at every api process, and one that nobody uses ends by itself. A wrong signature costs
no round trip.

Wrong tokens are counted per address and in all (OWASP's "device cookies": a browser that has signed in before is counted by itself, so that
nobody can lock the operators out by guessing).
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Any, Final

import jwt
import msgspec
import structlog

from router.clock import Clock
from router.domain.errors import LimitReached, Unauthorized
from router.settings import Settings
from router.store import tries
from router.store.store import Store
from router.store.tries import TryLimit

_log = structlog.get_logger()
_ALGORITHM: Final = "HS256"
_EARLY_SECONDS: Final = 5
"""By how much another process' clock may be ahead of ours."""
_LONGEST: Final = 4096
_ID: Final = re.compile(r"[A-Za-z0-9_-]{32}")
_KNOWN_SECONDS: Final = 90 * 86400
_VISIT_SECONDS: Final = 3600
_ALL: Final = "all"


class Session(msgspec.Struct, frozen=True):
    """A session that is good. `csrf`: what its forms must bring along. `ends_at`: when it ends however much it is used (Unix seconds)."""

    id: str
    csrf: str
    ends_at: float


class Visit(msgspec.Struct, frozen=True):
    """Who looks at the login page. `cookie` proves that the form came to the same browser."""

    cookie: str
    csrf: str


class SignedIn(msgspec.Struct, frozen=True):
    """Cookies for a browser: of the session, and by which it is known again; and how long they last."""

    session: str
    session_seconds: int
    known: str
    known_seconds: int


class Signer:
    """Signs what a browser keeps for us. `purpose` keeps one kind from being taken for another."""

    def __init__(self, operator_token: str, clock: Clock) -> None:
        self._key = hmac.digest(operator_token.encode(), b"seedrouter console", "sha256")
        self._clock = clock

    def _key_for(self, purpose: str) -> bytes:
        return hmac.digest(self._key, purpose.encode(), "sha256")

    def sign(self, purpose: str, claims: Mapping[str, Any], seconds: float) -> str:
        """A signed text that is good for so long."""
        now = int(self._clock.now())
        return jwt.encode({**claims, "iat": now, "exp": now + int(seconds)}, self._key_for(purpose), _ALGORITHM)

    def read(self, purpose: str, signed: str) -> dict[str, Any] | None:
        """What was signed; None for what is not ours, or is over."""
        if not signed or len(signed) > _LONGEST:
            return None
        # Times are held against our clock, not the machine's
        options: Any = {"verify_exp": False, "verify_iat": False, "require": ["iat", "exp"]}
        try:
            claims: dict[str, Any] = jwt.decode(signed, self._key_for(purpose), [_ALGORITHM], options=options)
        except jwt.InvalidTokenError:
            return None
        now, begun, end = self._clock.now(), claims["iat"], claims["exp"]
        if not isinstance(begun, int) or not isinstance(end, int) or not begun - _EARLY_SECONDS <= now < end:
            return None
        return claims

    def csrf(self, of: str) -> str:
        """The token that the forms of a session, or of a visit to the login page, bring along."""
        return hmac.digest(self._key_for("csrf"), of.encode(), "sha256").hex()


class Console:
    """One per api process."""

    def __init__(self, store: Store, clock: Clock, settings: Settings, operator_token: str) -> None:
        self._store = store
        self._clock = clock
        self._token = operator_token.encode()
        self._seconds = settings.console_session_seconds
        self._idle_seconds = settings.console_idle_seconds or self._seconds
        seconds, lock_seconds = settings.console_wrong_seconds, settings.console_lock_seconds
        self._limit = TryLimit(settings.console_wrong_tokens, seconds, lock_seconds)
        self._limit_of_all = TryLimit(settings.console_wrong_tokens_in_all, seconds, lock_seconds)
        self.signer = Signer(operator_token, clock)

    # Signing in

    def visit(self, cookie: str) -> Visit:
        """The visit that this cookie of the login page stands for; a new one where it stands for none."""
        return self._visit_of(cookie) or self._new_visit()

    def _visit_of(self, cookie: str) -> Visit | None:
        claims = self.signer.read("visit", cookie)
        return Visit(cookie, self.signer.csrf(f"visit:{claims['id']}")) if claims else None

    def _new_visit(self) -> Visit:
        id = secrets.token_urlsafe(24)
        return Visit(self.signer.sign("visit", {"id": id}, _VISIT_SECONDS), self.signer.csrf(f"visit:{id}"))

    def is_visits(self, cookie: str, csrf: str) -> bool:
        """Was this form given to the browser that has this cookie of the login page?"""
        visit = self._visit_of(cookie)
        return visit is not None and hmac.compare_digest(visit.csrf.encode(), csrf.encode("utf-8", "replace"))

    async def sign_in(self, token: str, address: str, known: str) -> SignedIn:
        """Begins a session. `address` is the client's, `known` the cookie of an earlier sign-in, or an empty text.

        Raises `Unauthorized`, and `LimitReached` where no token is heard now, the right one included.
        """
        claims = self.signer.read("known", known)
        who = f"known:{claims['id']}" if claims else f"address:{address}"
        counted = [(who, self._limit)] if claims else [(who, self._limit), (_ALL, self._limit_of_all)]
        # One after the other: an address that is locked out must not use up the others' tries
        for name, limit in counted:
            await self._count(name, limit, address)
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self._token):
            _log.warning("console.wrong_token", address=address)
            raise Unauthorized("wrong operator token")
        id = secrets.token_urlsafe(24)
        batch = self._store.batch()
        for name, _ in counted:
            tries.forgive(batch, self._store.console.tries(name))
        self._store.console.begin(batch, id, min(self._idle_seconds, self._seconds))
        await batch.run()
        _log.info("console.signed_in", address=address)
        known_id = claims["id"] if claims else secrets.token_urlsafe(24)
        return SignedIn(
            session=self.signer.sign("session", {"id": id}, self._seconds),
            session_seconds=self._seconds,
            known=self.signer.sign("known", {"id": known_id}, _KNOWN_SECONDS),
            known_seconds=_KNOWN_SECONDS,
        )

    async def _count(self, who: str, limit: TryLimit, address: str) -> None:
        batch = self._store.batch()
        tries.may_try(batch, self._store.console.tries(who), is_counted=True, now=self._clock.now(), limit=limit)
        (answer,) = await batch.run()
        if wait_seconds := tries.parse_lock(answer):
            _log.warning("console.locked", address=address, in_all=who == _ALL)
            raise LimitReached("wrong tokens", limit.wrong, int(wait_seconds) + 1)

    # Sessions

    async def look(self, cookie: str, *, is_used: bool) -> Session | None:
        """The session of a cookie; None where there is none, or it is over. `is_used`: somebody did something, it was no page that renews
        itself, so the session's idle time begins anew.
        """
        claims = self.signer.read("session", cookie)
        if claims is None or not _ID.fullmatch(str(claims.get("id"))):
            return None
        id, left = claims["id"], int(claims["exp"] - self._clock.now())
        batch = self._store.batch()
        if is_used:
            self._store.console.touch(batch, id, max(1, min(self._idle_seconds, left)))
        else:
            self._store.console.look(batch, id)
        (found,) = await batch.run()
        return Session(id, self.signer.csrf(f"session:{id}"), claims["exp"]) if found is not None else None

    async def sign_out(self, session: Session) -> None:
        """Ends it, at every api process."""
        batch = self._store.batch()
        self._store.console.end(batch, session.id)
        await batch.run()
        _log.info("console.signed_out")
