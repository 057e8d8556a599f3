"""What a client does with a session that it has scanned: it takes it on with its public key, and proves the password.

Neither needs the socket's process: the decisions stand in Redis, and the socket is told by a hint.
"""

import secrets
from typing import Final, Literal

import structlog

from router import metrics
from router.clock import Clock
from router.domain.account import Account
from router.domain.errors import LimitReached, NotFound, Unauthorized
from router.domain.sync import SyncRules, is_session, is_user
from router.services.passwords import PasswordChecks
from router.services.sync_keys import ClientKey, Mask, ServerKey, Undecryptable
from router.store.store import Store

_log = structlog.get_logger()
_SHARED_KEY_BYTES: Final = 16
_NO_HASH: Final = ""

Step = Literal["handshake", "acked", "wrong_password", "locked"]


class Sync:
    """One per api process. Its password checks are its own: who guesses here does not keep logins of other APIs waiting."""

    def __init__(self, store: Store, clock: Clock, rules: SyncRules, server_key: ServerKey, most_password_checks: int) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._server_key = server_key
        self._checks = PasswordChecks(most_password_checks)

    @property
    def public_pem(self) -> str:
        """The server's public key."""
        return self._server_key.public_pem

    async def handshake(self, user: str, session: str, public_key: str) -> None:
        """Takes a session on, and pauses its socket. Again with the same key it is the same client, whose answer was lost.

        Raises `NoPublicKey`; and `NotFound` where the session is not the one that a socket shows now, where another client has it, and
        where there is no such user.
        """
        ClientKey(public_key)
        if not is_user(user) or not is_session(session) or await self._account(user) is None:
            raise NotFound("no such session")
        batch = self._store.batch()
        place = self._store.sync.handshake(batch, user, session, public_key, self._rules)
        if not (await batch.run())[place]:
            raise NotFound("no such session")
        self._count("handshake")
        self._tell(session)

    async def authenticate(self, user: str, session: str, password: str, mask: Mask) -> str:
        """Finishes a session: answers a new shared key, 32 hex digits, encrypted for the client (base64).

        The key is kept nowhere here. Raises `NotFound` where the session is not paused, `Undecryptable`, `Unauthorized`, `LimitReached`
        where too many passwords were wrong, `Unavailable` where too many are being checked.
        """
        public_key = await self._public_key(user, session)
        account = await self._account(user)
        if account is None:
            raise Unauthorized("unknown account")
        try:
            given: str | None = self._server_key.decrypt(password, mask)
        except Undecryptable:
            given = None
        await self._check(account, given)
        key = secrets.token_hex(_SHARED_KEY_BYTES)
        encrypted = ClientKey(public_key).encrypt(key, mask)
        batch = self._store.batch()
        self._store.sync.forgive(batch, account.id)
        place = self._store.sync.ack(batch, user, session)
        if not (await batch.run())[place]:
            raise NotFound("the session has ended meanwhile")
        self._count("acked")
        _log.info("sync.acked", account=account.id)
        self._tell(session)
        return encrypted

    async def _public_key(self, user: str, session: str) -> str:
        if is_user(user) and is_session(session):
            batch = self._store.batch()
            place = self._store.sync.public_key(batch, user, session)
            found = (await batch.run())[place]
            if found is not None:
                return str(found.decode())
        raise NotFound("no such session")

    async def _account(self, user: str) -> Account | None:
        """By its id, else by its login; none where it is disabled."""
        account = await self._store.accounts.load(self._store.batch(), user)
        if account is None:
            batch = self._store.batch()
            place = self._store.accounts.owner_of_login(batch, user)
            owner = (await batch.run())[place]
            account = await self._store.accounts.load(self._store.batch(), owner.decode()) if owner else None
        return account if account is not None and account.enabled else None

    async def _check(self, account: Account, password: str | None) -> None:
        """Is it the account's? One that could not be decrypted (None) is no guess and is not counted, but takes as long."""
        batch = self._store.batch()
        locked = self._store.sync.may_try(
            batch, account.id, is_counted=password is not None, now=self._clock.now(), rules=self._rules
        )
        kept = self._store.accounts.password(batch, account.id)
        answers = await batch.run()
        wait_seconds = self._store.sync.parse_lock(answers[locked])
        if wait_seconds:
            self._count("locked")
            raise LimitReached("wrong passwords", self._rules.wrong_passwords, int(wait_seconds) + 1)
        password_hash, _ = self._store.accounts.parse_password(answers[kept])
        is_right = await self._checks.check(_NO_HASH if password is None else password_hash, password or "")
        if password is None:
            raise Undecryptable
        if not is_right:
            self._count("wrong_password")
            _log.warning("sync.wrong_password", account=account.id)
            raise Unauthorized("wrong password")

    def _tell(self, session: str) -> None:
        """A hint to the socket: nobody waits for it."""
        batch = self._store.batch()
        self._store.sync.tell(batch, session)
        batch.post()

    @staticmethod
    def _count(step: Step) -> None:
        metrics.SYNCS.labels(step).inc()
