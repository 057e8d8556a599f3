import pytest
from redis.asyncio import Redis

from router.redis_cluster import Cluster
from router.redis_link import connect
from router.redis_url import Place, read_url

SENTINELS = (("s1", 26379), ("s2", 26380))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://", Place(addresses=(("localhost", 6379),))),
        ("redis://localhost", Place(addresses=(("localhost", 6379),))),
        ("redis://10.0.0.1:7000/3", Place(addresses=(("10.0.0.1", 7000),), database=3)),
        ("redis://[::1]:7000", Place(addresses=(("::1", 7000),))),
        ("redis://u:p%40ss@host", Place(addresses=(("host", 6379),), username="u", password="p@ss")),
        ("redis://:p%2Fss@host/1", Place(addresses=(("host", 6379),), password="p/ss", database=1)),
        (
            "rediss://host?ssl_cert_reqs=none&ssl_ca_certs=/ca.pem",
            Place(addresses=(("host", 6379),), is_tls=True, tls={"ssl_cert_reqs": "none", "ssl_ca_certs": "/ca.pem"}),
        ),
        ("unix:///tmp/redis.sock", Place(socket="/tmp/redis.sock")),
        ("unix://u:p@/tmp/a%20b.sock?db=2", Place(socket="/tmp/a b.sock", username="u", password="p", database=2)),
        ("redis+sentinel://s1,s2:26380/main", Place(addresses=SENTINELS, master="main")),
        ("redis+sentinel://s1/main/4", Place(addresses=SENTINELS[:1], master="main", database=4)),
        (
            "redis+sentinel://u%3A:p%40ss@s1,s2:26380/main?sentinel_password=x%2By",
            Place(addresses=SENTINELS, master="main", username="u:", password="p@ss", sentinel_password="x+y"),
        ),
        (
            "rediss+sentinel://s1/main?ssl_cert_reqs=none",
            Place(addresses=SENTINELS[:1], master="main", is_tls=True, tls={"ssl_cert_reqs": "none"}),
        ),
        ("redis+sentinel://[::1],[fe80::2]:26380/main", Place(addresses=(("::1", 26379), ("fe80::2", 26380)), master="main")),
        ("redis+cluster://a,b:7001", Place(addresses=(("a", 6379), ("b", 7001)), is_cluster=True)),
        ("redis+cluster://a/", Place(addresses=(("a", 6379),), is_cluster=True)),
        (
            "rediss+cluster://u:p@a:7000?ssl_ca_certs=/ca.pem",
            Place(addresses=(("a", 7000),), username="u", password="p", is_cluster=True, is_tls=True, tls={"ssl_ca_certs": "/ca.pem"}),
        ),
    ],
)
def test_each_form(url: str, place: Place) -> None:
    """One server, Sentinel or Cluster; with names and passwords as they are, not as a URL writes them."""
    assert place == read_url(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "no scheme"),
        ("localhost:6379", "localhost"),
        ("amqp://host", "amqp"),
        ("redis+socket:///tmp/redis.sock", "redis"),
        ("sentinel://s1/main", "sentinel"),
        ("redis+sentinel://s1:26379", "master's name is missing"),
        ("redis+sentinel://s1:26379/", "master's name is missing"),
        ("redis+sentinel://s1/main/first", "database's number"),
        ("redis+sentinel:///main", "no host"),
        ("redis+sentinel://s1,,s2/main", "no host"),
        ("redis+cluster://", "no host"),
        ("redis+cluster://a,:7001", "no host"),
        ("redis+cluster://a/1", "database 0 only"),
        ("redis+cluster://a:port", "port"),
        ("redis+sentinel://s1/main?socket_timeout=1", "socket_timeout"),
        ("redis+cluster://a?colour=red", "colour"),
        ("redis://host:port", "port"),
    ],
)
def test_what_is_no_url_of_ours(url: str, words: str) -> None:
    """Refused with a reason."""
    with pytest.raises(ValueError, match=words):
        read_url(url)


@pytest.mark.parametrize("url", ["redis+sentinel://u:top-secret@/main", "redis+cluster://u:top-secret@a/1", "redis+sentinel://u:a/top-secret@s1/main"])
def test_a_refusal_tells_no_password(url: str) -> None:
    with pytest.raises(ValueError) as refusal:
        read_url(url)

    assert "top-secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "kind"),
    [("redis://host", Redis), ("unix:///tmp/redis.sock?db=1", Redis), ("redis+sentinel://s1/main", Redis), ("redis+cluster://a", Cluster)],
)
def test_clients(url: str, kind: type) -> None:
    """Made without a server that answers: a process may start before its Redis."""
    assert type(connect(url)) is kind
