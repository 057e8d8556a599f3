"""The ways to a server: sockets, passwords, TLS."""

import datetime as dt
import ipaddress
import threading
from pathlib import Path
from typing import Any

import kombu
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kombu import Queue

from bench.ports import free_port
from tests import servers
from tests.conftest import require
from tests.integration.queue.streams.conftest import Connect
from tests.integration.queue.streams.kit import bodies, take


def works(connection: kombu.Connection) -> bool:
    channel = connection.channel()
    channel.publish_many("q", [b"1"])
    return [1] == bodies(take(connection, channel, "q", 1))


def test_a_unix_socket_and_its_database(connect: Connect, streams_server: servers.Server) -> None:
    """The path stands where a database's number would, the number behind it; a copy of the connection is the same."""
    connection = connect(streams_server.socket_url[:-1] + "3")

    assert works(connection.clone())
    assert works(connection)
    with streams_server.client() as client:
        assert "db3" in client.info("keyspace")


def test_a_database(connect: Connect, streams_server: servers.Server) -> None:
    connection = connect(streams_server.url[:-1] + "4")

    assert works(connection)
    assert b"4" == connection.default_channel.link.call("CLIENT", "INFO").split(b" db=")[1].split(b" ")[0]


def test_a_password(connect: Connect) -> None:
    """Right, it opens the server; wrong, it is an error at once that kombu knows; it is shown nowhere."""
    with servers.single(requirepass="secret") as server:
        host = f"{servers.HOST}:{server.port}"
        assert works(connect(f"redisstreams://:secret@{host}/0"))
        assert works(connect(f"redisstreams://default:secret@{host}/0"))
        wrong = connect(f"redisstreams://:wrong@{host}/0")
        with pytest.raises(wrong.connection_errors) as raised:
            wrong.connect()

    assert "wrong@" not in str(raised.value)


def test_tls(connect: Connect) -> None:
    """With the certificate that is trusted, and not with another."""
    require(servers.has_tls(servers.redis_binary()) or None, "a redis-server that was built with TLS (Debian: apt install redis-server)")
    with servers.folder() as path:
        key, certificate = make_certificate(path)
        files = {"tls-cert-file": str(certificate), "tls-key-file": str(key), "tls-ca-cert-file": str(certificate)}
        tls_port = free_port()
        with servers.single(**{"tls-port": str(tls_port), "tls-auth-clients": "no"}, **files) as server:
            url = f"redisstreams://{servers.HOST}:{tls_port}/0"
            assert server.answers()
            assert works(kombu_with_ssl(connect, url, {"ssl_ca_certs": str(certificate)}))
            assert works(connect(f"{url}?ssl_cert_reqs=CERT_NONE"))
            untrusted = kombu_with_ssl(connect, url, {})
            with pytest.raises(untrusted.connection_errors):
                untrusted.connect()


def keepers() -> int:
    """Threads that renew leases."""
    return sum(thread.name == "redisstreams-keeper" for thread in threading.enumerate())


def test_connections_are_closed(connect: Connect, streams_server: servers.Server) -> None:
    """A closed connection leaves no socket open, no thread running."""
    with streams_server.client() as client:
        before = client.info("clients")["connected_clients"]
        threads = keepers()
        for _ in range(3):
            connection = connect()
            channel = connection.channel()
            consumer = kombu.Consumer(channel, [Queue("q")], on_message=lambda _: None)
            consumer.consume()
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=0.05)
            connection.release()
        servers.wait_until(lambda: client.info("clients")["connected_clients"] <= before, "the sockets are closed")
        assert threads == keepers()


def kombu_with_ssl(connect: Connect, url: str, ssl: dict[str, Any]) -> kombu.Connection:
    connection = connect(url)
    connection.ssl = {"ssl_cert_reqs": "required", **ssl}
    return connection


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate of its own making for loopback."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(servers.HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    key_file, certificate_file = folder / "key.pem", folder / "certificate.pem"
    plain = serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return key_file, certificate_file
