"""Pages of a list, and the links between them (RFC 8288)."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from router.domain.errors import Invalid

_PER_PAGE = 10
_LONGEST_NUMBER = 9
T = TypeVar("T")


class Page(msgspec.Struct, frozen=True):
    """Which part of a list: page `number`, from 1, of `size` items each."""

    number: int
    size: int

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """What stands on it; nothing beyond the last one."""
        start = (self.number - 1) * self.size
        return items[start : start + self.size]

    def links(self, total: int) -> list[tuple[str, int]]:
        """`first`, `prev`, `next` and `last`, as far as they are other pages than this one, of a list of `total`; and their numbers."""
        last = max(1, -(-total // self.size))
        links: list[tuple[str, int]] = []
        if self.number > 1:
            links += [("first", 1), ("prev", min(self.number - 1, last))]
        if self.number < last:
            links += [("next", self.number + 1), ("last", last)]
        return links


def page_of(page: str, per_page: str, most: int) -> Page:
    """The page that a query asks for; at most so many items, whatever it wants. Raises `Invalid`."""
    return Page(_positive("page", page, 1), min(_positive("per_page", per_page, _PER_PAGE), most))


def _positive(name: str, text: str, default: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER) or int(text) < 1:
        raise Invalid(name, "must be a positive integer")
    return int(text)
