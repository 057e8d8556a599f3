import pytest

from router.domain.addresses import check_url, is_public, target_of
from router.domain.errors import Invalid

PUBLIC = (
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "169.253.1.1", "223.255.255.1",
    "2606:4700:4700::1111", "2a00:1450:4001:80f::200e", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
)  # fmt: skip
CLOSED = (
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.1", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.7",
    "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1", "2002:7f00:1::1", "2002:c0a8:101::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "3fff::1",
    "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "4000::1", "100::1",
    "", "localhost", "2130706433", "0x7f.1", "127.1", "1.1.1.1 ", "example.com",
)  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    """What is on the Internet may be called."""
    assert is_public(address)


@pytest.mark.parametrize("address", CLOSED)
def test_not_public(address: str) -> None:
    """Neither what is inside some network, nor an address that hides one, nor what is no address."""
    assert not is_public(address)


@pytest.mark.parametrize("url", ["https://example.com/webhook", "https://example.com:8443/a?b=c#d", "https://8.8.8.8/", "https://[2606::1]/x"])
def test_taken_url(url: str) -> None:
    """https to a name or to a public address."""
    assert check_url(url, allow_http=False, allow_private=False) is None


@pytest.mark.parametrize(
    "url",
    [
        "not_a_url", "", "/webhook", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "https://", "https:///x",
        "https://user:secret@example.com/", "https://user@example.com/", "https://@example.com/", "http://example.com/", "https://127.0.0.1/",
        "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://169.254.169.254/latest/meta-data", "https://example.com:0/",
        "https://example.com:99999/", "https://exa mple.com/", "https://example.com\\@127.0.0.1/", "https://example.com/\n", "https://[::1/",
        "https://example.com/" + "a" * 2048, "HTTP://example.com", "http://localhost/",
    ],
)  # fmt: skip
def test_refused_url(url: str) -> None:
    """Not a URL, another scheme, credentials, plain http, a private address."""
    with pytest.raises(Invalid, match=r"^url: "):
        check_url(url, allow_http=False, allow_private=False)


@pytest.mark.parametrize(
    ("url", "http", "private", "is_taken"),
    [
        ("http://example.com/", True, False, True),
        ("http://127.0.0.1/", True, False, False),
        ("http://127.0.0.1:8000/", False, True, True),
        ("http://[::1]:8000/", False, True, True),
        ("http://localhost:8000/", False, True, True),
        ("http://10.0.0.1/", False, True, False),
        ("http://10.0.0.1/", True, True, True),
        ("http://example.com/", False, True, False),
        ("https://10.0.0.1/", False, True, True),
        ("https://u:p@10.0.0.1/", True, True, False),
    ],
)
def test_settings(url: str, http: bool, private: bool, is_taken: bool) -> None:
    """Plain http, and private addresses, where a setting allows them; http to this machine where private addresses are allowed."""
    taken = True
    try:
        check_url(url, allow_http=http, allow_private=private)
    except Invalid:
        taken = False

    assert is_taken == taken


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://Example.com/a", "https://example.com:443"),
        ("https://example.com:443/b?c", "https://example.com:443"),
        ("http://example.com", "http://example.com:80"),
        ("https://example.com:8443", "https://example.com:8443"),
        ("https://[2606::1]/x", "https://[2606::1]:443"),
    ],
)
def test_target(url: str, target: str) -> None:
    """Scheme, host and port, however the URL spells them."""
    assert target == target_of(url)
