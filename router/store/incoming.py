"""What SMS have come in lately, so that one that is told again is known: `incoming:{<fingerprint>}`, a string: its id, and `done`.

Neither the text nor a number is kept: a fingerprint under the seal's key stands for them.
"""

from router.store.redis import Batch
from router.store.seeds import Fingerprints

_DONE = b" done"
_AMONG = "incoming"


class IncomingSeen:
    """Every method adds to a batch."""

    def __init__(self, fingerprints: Fingerprints) -> None:
        self._fingerprints = fingerprints

    def _key(self, identity: str) -> str:
        return f"incoming:{{{self._fingerprints.fingerprint(identity, _AMONG)}}}"

    def claim(self, batch: Batch, identity: str, incoming_id: str, seconds: int) -> int:
        """Gives it this id, unless it has one; hand the answer at this place to `parse`."""
        key = self._key(identity)
        batch.add("SET", key, incoming_id, "NX", "EX", seconds)
        return batch.add("GET", key)

    @staticmethod
    def parse(answer: bytes | None, incoming_id: str) -> tuple[str, bool]:
        """The id that it has, and whether everybody has been told of it."""
        if answer is None:
            return incoming_id, False
        return answer.removesuffix(_DONE).decode(), answer.endswith(_DONE)

    def done(self, batch: Batch, identity: str, incoming_id: str, seconds: int) -> None:
        """Everybody has been told: a repeat is nothing new for so long."""
        batch.add("SET", self._key(identity), incoming_id.encode() + _DONE, "EX", seconds)
