"""Sessions of the console, and the locks of wrong tokens.

- `console:{sessions}:<id>` string, as long as the session lives without a request.
- `console:{logins}:wrong:<who>`, `console:{logins}:locked:<who>` (`store/tries.py`); `<who>` is an address, a browser that has signed in
  before, or `all`.
"""

from router.store.redis import Batch
from router.store.tries import TryKeys


class ConsoleStore:
    """Every method adds to a batch."""

    @staticmethod
    def _session(session_id: str) -> str:
        return f"console:{{sessions}}:{session_id}"

    @classmethod
    def begin(cls, batch: Batch, session_id: str, seconds: int) -> None:
        batch.add("SET", cls._session(session_id), "1", "EX", seconds)

    @classmethod
    def look(cls, batch: Batch, session_id: str) -> int:
        """The answer at this place is None where there is no such session."""
        return batch.add("GET", cls._session(session_id))

    @classmethod
    def touch(cls, batch: Batch, session_id: str, seconds: int) -> int:
        """Like `look`; it lives for so long from now."""
        return batch.add("GETEX", cls._session(session_id), "EX", seconds)

    @classmethod
    def end(cls, batch: Batch, session_id: str) -> None:
        batch.add("DEL", cls._session(session_id))

    @staticmethod
    def tries(who: str) -> TryKeys:
        return TryKeys(f"console:{{logins}}:wrong:{who}", f"console:{{logins}}:locked:{who}")
