"""Sessions of the synchronisation, the sockets that show them, and the locks of wrong passwords.

- `sync:{<user>}:open` hash session of a socket's URL → until when which socket has it. `<user>` is what the URL says.
- `sync:{<user>}:session:<id>` hash state, and key, the client's public key. Lives as long as it may be taken on, or finished.
- `sync:{<account>}:wrong` sorted set of tries of passwords, `sync:{<account>}:locked` while none is heard.
- `SYNC_CHANNEL` (pub/sub, a hint only: it may be lost).

A session that was only asked for (`GET …/sync/users/{user}`) is written nowhere: whatever the URL, the first frame is what begins one.
"""

from typing import Any

import msgspec

from router.domain.sync import State, SyncRules
from router.store import tries
from router.store.redis import Batch, Script, text
from router.store.tries import TryKeys, TryLimit

SYNC_CHANNEL = "sync"
"""Ids of sessions that a client took on, or finished."""
_CLAIM_SECONDS = 5.0
"""How long a socket has its URL unless it says so again: what a process that died leaves behind."""
_SLACK_SECONDS = 5.0
"""A session outlives its sleep by that: its socket is the one that ends it."""
_SAID_SECONDS = 30.0
_FRAME = Script("sync_frame")
_LOOK = Script("sync_look")
_END = Script("sync_end")
_HANDSHAKE = Script("sync_handshake")
_ACK = Script("sync_ack")


class Claim(msgspec.Struct, frozen=True):
    """A socket: the user and session of its URL, and a token by which it is told from another one there."""

    user: str
    session: str
    token: str


class SyncStore:
    """Every method adds to a batch."""

    @staticmethod
    def _open(user: str) -> str:
        return f"sync:{{{user}}}:open"

    @staticmethod
    def _session(user: str, session: str) -> str:
        return f"sync:{{{user}}}:session:{session}"

    # Sockets

    def show(self, batch: Batch, claim: Claim, new: str, old: str, *, now: float, rules: SyncRules) -> int:
        """The next session (`old` = the one before, empty for the first); hand the answer at this place to `parse_state`.

        It is `waiting` where it is shown, `taken` or `full` (`is_full`) where this socket may not be, and else the old session's.
        """
        keys = (self._open(claim.user), self._session(claim.user, new), self._session(claim.user, old or new))
        seconds = rules.session_sleep_timeout + _SLACK_SECONDS
        return batch.call(_FRAME, keys, claim.session, claim.token, repr(now), _CLAIM_SECONDS, seconds, rules.sockets_per_user)

    def look(self, batch: Batch, claim: Claim, shown: str, now: float) -> int:
        """The state of the session that is shown; hand the answer at this place to `parse_state`. The socket keeps its URL by this."""
        keys = (self._open(claim.user), self._session(claim.user, shown))
        return batch.call(_LOOK, keys, claim.session, claim.token, repr(now), _CLAIM_SECONDS)

    def end(self, batch: Batch, claim: Claim, shown: str, states: tuple[State, ...], *, is_leaving: bool) -> int:
        """Ends the session if it is in one of these states; `is_leaving`: the URL is free whatever it is in.

        The answer at this place, by `parse_state`, is `gone`, or the state in which the session stays.
        """
        keys = (self._open(claim.user), self._session(claim.user, shown))
        return batch.call(_END, keys, claim.session, claim.token, int(is_leaving), *states)

    @staticmethod
    def is_full(answer: bytes) -> bool:
        """Has the user too many sockets?"""
        return answer == b"full"

    @staticmethod
    def parse_state(answer: bytes) -> State:
        state: State = text(answer)  # type: ignore[assignment]
        return state

    # Clients

    def handshake(self, batch: Batch, user: str, session: str, public_key: str, rules: SyncRules) -> int:
        """Takes a session on; the answer at this place is 0 where there is no such session, or another client has it."""
        seconds = rules.session_sleep_timeout + rules.session_paused_timeout + _SLACK_SECONDS
        return batch.call(_HANDSHAKE, (self._session(user, session),), public_key, seconds)

    def public_key(self, batch: Batch, user: str, session: str) -> int:
        """The public key (bytes) of the client that has taken it on; the answer at this place is None where nobody has."""
        return batch.add("HGET", self._session(user, session), "key")

    def ack(self, batch: Batch, user: str, session: str) -> int:
        """Finishes a session; the answer at this place is 0 where it was not paused."""
        return batch.call(_ACK, (self._session(user, session),), _SAID_SECONDS)

    @staticmethod
    def tell(batch: Batch, session: str) -> None:
        """Tells the socket that shows it, whichever process has it, to look."""
        batch.add("PUBLISH", SYNC_CHANNEL, session)

    # Wrong passwords

    def may_try(self, batch: Batch, account_id: str, *, is_counted: bool, now: float, rules: SyncRules) -> int:
        """The answer at this place, by `parse_lock`, is how long no password is heard. A try that `is_counted` is wrong until `forgive`."""
        limit = TryLimit(rules.wrong_passwords, rules.wrong_seconds, rules.lock_seconds)
        return tries.may_try(batch, self._locks(account_id), is_counted=is_counted, now=now, limit=limit)

    @staticmethod
    def parse_lock(answer: Any) -> float:
        """Seconds; 0 where it may be tried."""
        return tries.parse_lock(answer)

    def forgive(self, batch: Batch, account_id: str) -> None:
        """The password was right."""
        tries.forgive(batch, self._locks(account_id))

    @staticmethod
    def _locks(account_id: str) -> TryKeys:
        return TryKeys(f"sync:{{{account_id}}}:wrong", f"sync:{{{account_id}}}:locked")
