"""How the client reached us: scheme and host, for URLs in answers."""

import re
from ipaddress import ip_address
from typing import Any

from litestar.connection import ASGIConnection

from router.api.parts import header_of
from router.settings import Settings

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
_IS_TLS = {"http": False, "ws": False, "https": True, "wss": True}


def base_url(connection: "ASGIConnection[Any, Any, Any, Any]", settings: Settings) -> str:
    """`http(s)://host[:port]`, without a slash at its end: the setting `public_url`; else as a trusted proxy says; else of the request.

    What is no host is passed over, and in the end our own address is told. Of several values in a header the last one counts: that is the
    one which the proxy that we trust has written.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/")
    is_tls = _IS_TLS.get(str(connection.scope["scheme"]), False)
    hosts = [header_of(connection, b"host")]
    if _is_trusted(connection, settings):
        is_tls = _IS_TLS.get(_last(header_of(connection, b"x-forwarded-proto")).lower(), is_tls)
        hosts.insert(0, _last(header_of(connection, b"x-forwarded-host")))
    host = next((host for host in hosts if _HOST.fullmatch(host)), None) or f"{settings.host}:{settings.port}"
    return f"{'https' if is_tls else 'http'}://{host}"


def _last(value: str) -> str:
    return value.rpartition(",")[2].strip()


def _is_trusted(connection: "ASGIConnection[Any, Any, Any, Any]", settings: Settings) -> bool:
    proxies, client = settings.proxies(), connection.scope["client"]
    if not proxies or not client:
        return False
    try:
        address = ip_address(client[0])
    except ValueError:
        return False
    # A socket of both families shows IPv4 clients so
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in proxies)
