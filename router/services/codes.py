"""Did the right code come back? And what has become of a message."""

from functools import partial

from router.domain import lifecycle, otp
from router.domain.account import Account
from router.domain.errors import NotFound, RouterError
from router.domain.lifecycle import CodeRefusal, Decision
from router.domain.message import Message
from router.services.transitions import Step, Transitions
from router.store.store import Store


class CodeRefused(RouterError):
    """The code does not verify the message; `refusal` says why."""

    def __init__(self, refusal: CodeRefusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class Codes:
    """One per api process."""

    def __init__(self, store: Store, transitions: Transitions, code_pepper: bytes) -> None:
        self._store = store
        self._transitions = transitions
        self._pepper = code_pepper

    async def verify(self, account: Account, message_id: str, code: str | int) -> Message:
        """The message, verified. Raises `CodeRefused`; an unknown message, or another account's, is a wrong code."""
        (stored,) = await self._store.messages.load(self._store.batch(), [message_id])
        if stored is None or stored.message.account != account.id:
            raise CodeRefused("wrong")
        message = stored.message
        given = otp.normalise_code(code, message.code_length)
        matches = message.code_hash is not None and otp.code_matches(self._pepper, message.id, given, message.code_hash)
        refusals: list[CodeRefusal | None] = []
        (done,) = await self._transitions.apply([Step(message_id, partial(_verify, matches=matches, refusals=refusals), stored)])
        if done.error is not None:
            raise done.error
        if done.after is None or refusals[-1] is not None:
            raise CodeRefused(refusals[-1] or "wrong")
        return done.after

    async def status(self, account: Account, message_id: str) -> Message:
        """Raises `NotFound`, for another account's message too."""
        (stored,) = await self._store.messages.load(self._store.batch(), [message_id])
        if stored is None or stored.message.account != account.id:
            raise NotFound("no such message")
        return stored.message


def _verify(message: Message, now: float, *, matches: bool, refusals: list[CodeRefusal | None]) -> Decision:
    """`refusals` takes the answer of each round; the last one belongs to the decision that was kept."""
    verdict = lifecycle.verify(message, matches, now)
    refusals.append(verdict.refused)
    return verdict.decision
