"""Numbers that have moved to another carrier: `ported:{<e164>}` → MCC+MNC. It stands above what the number's prefix says.

`ported:any` exists once a table was imported: while it does not, no submission pays for a look-up.
"""

from collections.abc import Mapping

from router.store.redis import Batch, text


class Portability:
    """The override table; an operator imports it."""

    @staticmethod
    def read(batch: Batch, e164: str) -> int:
        """Adds a look-up; hand the answer at this place to `parse`."""
        return batch.add("GET", f"ported:{{{e164}}}")

    @staticmethod
    def parse(answer: bytes | None) -> str | None:
        return text(answer) or None

    @staticmethod
    def is_used(batch: Batch) -> int:
        """Adds the question whether there is any table at all; the answer at this place is 1 or 0."""
        return batch.add("EXISTS", "ported:any")

    @staticmethod
    def put(batch: Batch, carriers: Mapping[str, str]) -> None:
        """Number → carrier; an empty carrier removes the entry."""
        batch.add("SET", "ported:any", 1)
        for e164, carrier in carriers.items():
            if carrier:
                batch.add("SET", f"ported:{{{e164}}}", carrier)
            else:
                batch.add("DEL", f"ported:{{{e164}}}")
