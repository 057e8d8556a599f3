"""Forms, as browsers post them."""

from typing import Any
from urllib.parse import parse_qsl

from litestar import Request
from litestar.connection import ASGIConnection

from router.api.parts import header_of
from router.domain.errors import Invalid

_TYPE = "application/x-www-form-urlencoded"
_MOST_FIELDS = 100


async def form(connection: "ASGIConnection[Any, Any, Any, Any]") -> dict[str, str]:
    """The fields of a posted form, spaces around them cut off; of one that comes twice the last. Raises `Invalid`."""
    if not isinstance(connection, Request):
        raise Invalid("form", "only a request has one")
    if header_of(connection, b"content-type").partition(";")[0].strip().lower() not in (_TYPE, ""):
        raise Invalid("form", f"only {_TYPE} is read")
    body = await connection.body()
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise Invalid("form", "cannot be read") from None
    return {name: value.strip() for name, value in pairs}
