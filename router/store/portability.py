"""Numbers that have moved to another carrier: `ported:{<e164>}` → MCC+MNC. It stands above what the number's prefix says."""

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
    def put(batch: Batch, carriers: Mapping[str, str]) -> None:
        """Number → carrier; an empty carrier removes the entry."""
        for e164, carrier in carriers.items():
            if carrier:
                batch.add("SET", f"ported:{{{e164}}}", carrier)
            else:
                batch.add("DEL", f"ported:{{{e164}}}")
