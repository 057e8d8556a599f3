"""Which addresses the router calls on somebody else's word: none inside a network, and none that leads into one.

Source of the tables: IANA's special-purpose address registries (RFC 6890 and its successors). `ipaddress.is_global` is not used: what it
says has changed between Python versions.
"""

import ipaddress
from typing import Final
from urllib.parse import SplitResult, urlsplit

from router.domain.errors import Invalid

MAX_URL_LENGTH: Final = 2048
_PORTS: Final = {"http": 80, "https": 443}
_LOCALHOST: Final = ("localhost", "localhost.")

_CLOSED_V4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",
            "100.64.0.0/10",  # carriers' NAT
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local; clouds tell their secrets here
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
_OPEN_V6: Final = ipaddress.IPv6Network("2000::/3")
"""Global unicast: nothing else is in use on the Internet."""
_CLOSED_V6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "3fff::/20",
        ),
    )
)
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4: Final = ipaddress.IPv6Network("2002::/16")


def is_public(address: str) -> bool:
    """May this IP address be called? Those that hold an IPv4 address (mapped, NAT64, 6to4) are judged by it. What is no address may not."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return _is_public_v4(ip) if isinstance(ip, ipaddress.IPv4Address) else _is_public_v6(ip)


def _is_public_v4(ip: ipaddress.IPv4Address) -> bool:
    return not any(ip in network for network in _CLOSED_V4)


def _is_public_v6(ip: ipaddress.IPv6Address) -> bool:
    if ip in _MAPPED or ip in _NAT64:
        return _is_public_v4(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF))
    if ip in _6TO4:
        return _is_public_v4(ipaddress.IPv4Address(int(ip) >> 80 & 0xFFFF_FFFF))
    return ip in _OPEN_V6 and not any(ip in network for network in _CLOSED_V6)


def is_literal(host: str) -> bool:
    """Is the host of a URL an IP address itself?"""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def check_url(url: str, *, allow_http: bool, allow_private: bool) -> None:
    """Raises `Invalid` for a URL that is never called: not https (http where it is allowed; with `allow_private` also to this machine),
    credentials in it, or an address that is not public. What a name stands for is checked when it is called.
    """
    parts = _split(url)
    host = parts.hostname or ""
    if parts.username is not None or parts.password is not None:
        raise Invalid("url", "must not hold credentials")
    if is_literal(host) and not allow_private and not is_public(host):
        raise Invalid("url", "must not be a private address")
    if parts.scheme == "http" and not allow_http and not (allow_private and _is_this_machine(host)):
        raise Invalid("url", "must be https")


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL_LENGTH or not url.isprintable() or " " in url or "\\" in url:
        raise Invalid("url", f"must be a URL of at most {MAX_URL_LENGTH} characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Invalid("url", "is not a URL") from None
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise Invalid("url", "must be an https URL")
    return parts


def _is_this_machine(host: str) -> bool:
    return host in _LOCALHOST or (is_literal(host) and ipaddress.ip_address(host).is_loopback)


def target_of(url: str) -> str:
    """Scheme, host and port: what fails together. Raises `Invalid`."""
    parts = _split(url)
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{parts.port or _PORTS[parts.scheme]}"
