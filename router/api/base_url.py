"""How the client reached us: scheme and host, for URLs in answers."""

import re
from typing import Any

from litestar.connection import ASGIConnection

from router.api.parts import header_of
from router.api.proxies import is_tls, is_trusted, last_of, peer_of
from router.settings import Settings

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")


def base_url(connection: "ASGIConnection[Any, Any, Any, Any]", settings: Settings) -> str:
    """`http(s)://host[:port]`, without a slash at its end: the setting `public_url`; else as a trusted proxy says; else of the request.

    What is no host is passed over, and in the end our own address is told. Of several values in a header the last one counts: that is the
    one which the proxy that we trust has written.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/")
    hosts = [header_of(connection, b"host")]
    if is_trusted(peer_of(connection), settings):
        hosts.insert(0, last_of(header_of(connection, b"x-forwarded-host")))
    host = next((host for host in hosts if _HOST.fullmatch(host)), None) or f"{settings.host}:{settings.port}"
    return f"{'https' if is_tls(connection, settings) else 'http'}://{host}"
