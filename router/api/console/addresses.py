"""Addresses of pages, with what was asked for."""

from typing import Any
from urllib.parse import urlencode

from router.api.parts import header_of
from router.domain.errors import Invalid


def with_query(path: str, **asked: Any) -> str:
    """The path, and what is not empty behind it."""
    query = urlencode({name: value for name, value in asked.items() if value not in ("", None, 0, False)})
    return f"{path}?{query}" if query else path


def whole_number(text: str, name: str, otherwise: int, most: int) -> int:
    """A number of an address, 0 to `most`. Raises `Invalid`."""
    if not text:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most):
        raise Invalid(name, f"0 to {most}")
    return int(text)


def is_part(request: Any) -> bool:
    """Does a script ask for the part of the page that renews itself?"""
    return bool(header_of(request, b"hx-request"))
