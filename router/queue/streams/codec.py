"""What stands in an entry: `b`, the body as it is, and `m`, whatever is not the default, as JSON; no `m` where all is the default.

`m` is an object: c content type, e content encoding, h headers, p properties, x exchange, r routing key (where it is not the queue's name).
The default: JSON in UTF-8, no headers, delivery mode 2, priority 0, the default exchange. A plain message costs its body and little more.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kombu.utils.json import JSONEncoder, loads

CONTENT_TYPE = "application/json"
CONTENT_ENCODING = "utf-8"
DELIVERY_MODE = 2
_PLAIN_PROPERTIES = frozenset({"delivery_mode", "priority", "delivery_info"})
_LOCAL_PROPERTIES = frozenset({"delivery_info", "delivery_tag", "body_encoding"})
_CACHED = 1000

_to_json = JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

Raw = dict[str, Any]
"""kombu's message as a dict: body, content-type, content-encoding, headers, properties."""


class Meta(NamedTuple):
    """A decoded `m`."""

    content_type: str | None
    content_encoding: str | None
    headers: dict[str, Any]
    properties: dict[str, Any]
    exchange: str
    routing_key: str | None


PLAIN = Meta(CONTENT_TYPE, CONTENT_ENCODING, {}, {}, "", None)

_encoded: dict[tuple[Any, ...], bytes] = {}
_decoded: dict[bytes, Meta] = {}


def body_bytes(body: Any) -> bytes:
    """A body as it stands in an entry."""
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else bytes(body)


def encode(message: Raw, exchange: str, routing_key: str, queue: str) -> bytes:
    """The `m` of a message for a queue; empty where all is the default."""
    properties = message["properties"]
    if message["headers"] or not properties.keys() <= _PLAIN_PROPERTIES:
        return _encode(message, exchange, None if routing_key == queue else routing_key)
    key = (
        message.get("content-type"), message.get("content-encoding"), exchange, None if routing_key == queue else routing_key,
        properties.get("priority"), properties.get("delivery_mode"),
    )  # fmt: skip
    meta = _encoded.get(key)
    if meta is None:
        if len(_encoded) >= _CACHED:
            _encoded.clear()
        meta = _encoded[key] = _encode(message, exchange, key[3])
    return meta


def _encode(message: Raw, exchange: str, routing_key: str | None) -> bytes:
    meta: dict[str, Any] = {}
    if message.get("content-type") != CONTENT_TYPE:
        meta["c"] = message.get("content-type")
    if message.get("content-encoding") != CONTENT_ENCODING:
        meta["e"] = message.get("content-encoding")
    if message["headers"]:
        meta["h"] = message["headers"]
    properties = {name: value for name, value in message["properties"].items() if name not in _LOCAL_PROPERTIES}
    if properties.get("priority") == 0:
        del properties["priority"]
    if properties.get("delivery_mode") == DELIVERY_MODE:
        del properties["delivery_mode"]
    if properties:
        meta["p"] = properties
    if exchange:
        meta["x"] = exchange
    if routing_key is not None:
        meta["r"] = routing_key
    return _to_json(meta).encode() if meta else b""


def encode_parts(content_type: str | None, content_encoding: str | None, headers: Mapping[str, Any] | None) -> bytes:
    """The `m` of messages that have nothing but these, on the default exchange."""
    message = {"content-type": content_type, "content-encoding": content_encoding, "headers": dict(headers or {}), "properties": {}}
    return _encode(message, "", None)


def decode(meta: bytes) -> Meta:
    """The other way. Headers and properties are the caller's to change. Raises ValueError for what is no `m`."""
    found = _decoded.get(meta)
    if found is not None:
        return found._replace(headers={}, properties=dict(found.properties))
    value = loads(meta)
    if not isinstance(value, dict):
        raise ValueError("the field `m` of an entry is no JSON object")  # noqa: TRY004 - it is data, not a caller's mistake
    decoded = Meta(
        value.get("c", CONTENT_TYPE), value.get("e", CONTENT_ENCODING), value.get("h") or {}, value.get("p") or {},
        value.get("x") or "", value.get("r"),
    )  # fmt: skip
    if not decoded.headers and not any(isinstance(one, (dict, list)) for one in decoded.properties.values()):
        if len(_decoded) >= _CACHED:
            _decoded.clear()
        _decoded[meta] = decoded._replace(headers={}, properties=dict(decoded.properties))
    return decoded
