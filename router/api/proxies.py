"""How a request came to us, as far as the proxies that we trust can be believed."""

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from litestar.connection import ASGIConnection

from router.api.parts import header_of
from router.settings import Settings

_IS_TLS = {"http": False, "ws": False, "https": True, "wss": True}
_SITE_BITS = 64
"""Of IPv6: who has one address has all that begin so."""


def last_of(value: str) -> str:
    """The last of several values in a header: the one which the proxy that we trust has written."""
    return value.rpartition(",")[2].strip()


def is_trusted(address: str, settings: Settings) -> bool:
    """Is that the address of a proxy that we believe?"""
    proxies = settings.proxies()
    if not proxies or not address:
        return False
    try:
        found = ip_address(address)
    except ValueError:
        return False
    # A socket of both families shows IPv4 clients so
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network for network in proxies)


def peer_of(connection: "ASGIConnection[Any, Any, Any, Any]") -> str:
    """The address at the other end of the connection; empty where there is none."""
    client = connection.scope["client"]
    return client[0] if client else ""


def is_tls(connection: "ASGIConnection[Any, Any, Any, Any]", settings: Settings) -> bool:
    """Did the client come by TLS?"""
    own = _IS_TLS.get(str(connection.scope["scheme"]), False)
    if is_trusted(peer_of(connection), settings):
        return _IS_TLS.get(last_of(header_of(connection, b"x-forwarded-proto")).lower(), own)
    return own


def client_of(connection: "ASGIConnection[Any, Any, Any, Any]", settings: Settings) -> str:
    """The client's address: what the last proxy that we do not trust is, or the client itself; of IPv6, the network it can choose from."""
    address = peer_of(connection)
    for word in reversed(header_of(connection, b"x-forwarded-for").split(",")):
        if not is_trusted(address, settings):
            break
        address = word.strip() or address
    try:
        found = ip_address(address)
    except ValueError:
        return "unknown"
    found = getattr(found, "ipv4_mapped", None) or found
    if isinstance(found, IPv6Address):
        return str(ip_network((found, _SITE_BITS), strict=False))
    return str(found)
