"""A real RabbitMQ node of our own: free loopback ports, its own epmd, cookie and folder; nothing of the machine's own RabbitMQ is used."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bench.ports import free_port
from tests.conftest import require

_BINARIES = Path("/usr/lib/rabbitmq/bin")
"""Debian's wrappers on PATH change to the user rabbitmq and to the machine's own node; what they call does not."""
_START_SECONDS = 90.0
_COMMAND_SECONDS = 60.0
_STOP_SECONDS = 90.0


def find_rabbitmq() -> Path | None:
    """The folder of RabbitMQ's scripts, where both they and an epmd are installed."""
    return _BINARIES if (_BINARIES / "rabbitmq-server").exists() and shutil.which("epmd") else None


class RabbitMQ:
    """One node, `rabbit@localhost` of its own epmd. What it keeps stays when it is stopped and started again."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="seedrouter-rabbitmq-")
        self.path = Path(self._folder.name)
        self.port = free_port()
        self.tls_port = free_port()
        self._epmd_port, self._dist_port = free_port(), free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._binaries = require(find_rabbitmq(), "rabbitmq-server (Debian: apt install rabbitmq-server)")
        self._write_files()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    async def queues_are_written(self) -> None:
        """3.10 writes down where a new quorum queue's log is half a second later: killed before that, it never finds it again."""
        await asyncio.sleep(3)

    @property
    def certificate(self) -> Path:
        """Self-signed, for the name `localhost` alone; its holder listens on `tls_port`."""
        return self.path / "certificate.pem"

    def _write_files(self) -> None:
        cookie = self.path / ".erlang.cookie"
        cookie.write_text("SEEDROUTERTESTS")
        cookie.chmod(0o400)
        (self.path / "enabled_plugins").write_text("[].\n")
        (self.path / "environment").write_text("")
        lines = [
            f"listeners.tcp.default = 127.0.0.1:{self.port}",
            "vm_memory_high_watermark.absolute = 1GB",
            "disk_free_limit.absolute = 10MB",
            "log.file.level = warning",
            f"listeners.ssl.default = 127.0.0.1:{self.tls_port}",
            f"ssl_options.certfile = {self.certificate}",
            f"ssl_options.keyfile = {self.path / 'key.pem'}",
        ]
        _make_certificate(self.certificate, self.path / "key.pem")
        (self.path / "rabbitmq.conf").write_text("\n".join(lines) + "\n")

    @property
    def _environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))} | {
            "HOME": str(self.path),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": str(self.path / "environment"),
            "RABBITMQ_CONFIG_FILE": str(self.path / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.path / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.path / "enabled_plugins"),
            "RABBITMQ_NODENAME": "rabbit@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.path / "data"),
            "RABBITMQ_LOG_BASE": str(self.path / "log"),
            "RABBITMQ_PID_FILE": str(self.path / "pid"),
            # One scheduler, which does not spin while it is idle: the machine belongs to the tests
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
                "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CTL_ERL_ARGS": "+S 1:1 +sbwt none",
        }  # fmt: skip

    def start(self) -> None:
        """Returns when it takes connections. Raises AssertionError with the end of its log where it does not in time."""
        self._start_epmd()
        with (self.path / "output").open("ab") as output:
            self._server = subprocess.Popen(
                [self._binaries / "rabbitmq-server"], cwd=self.path, env=self._environment,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"RabbitMQ did not start: {(self.path / 'output').read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)

    def _start_epmd(self) -> None:
        """In the foreground, so that it is our child; a node that finds none would start one that outlives it."""
        if self._epmd is None:
            arguments = ["epmd", "-address", "127.0.0.1", "-port", str(self._epmd_port)]
            quiet = subprocess.DEVNULL
            self._epmd = subprocess.Popen(arguments, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)

    def _answers(self) -> bool:
        """RabbitMQ opens its ports last; a client's greeting is answered with `Connection.Start`."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
            client.sendall(b"AMQP\x00\x00\x09\x01")
            return bool(client.recv(1))
        return False

    def control(self, *arguments: str) -> str:
        """What `rabbitmqctl` prints; a second or two each. Raises CalledProcessError."""
        return subprocess.run(
            [self._binaries / "rabbitmqctl", "--quiet", *arguments], cwd=self.path, env=self._environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=_COMMAND_SECONDS,
        ).stdout  # fmt: skip

    def kill(self) -> None:
        """kill -9, as a machine that loses its power would end it."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """In good order."""
        self._end(signal.SIGTERM)

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """It stands still: connections stay open, nothing is answered."""
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._server.pid, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        """The script that we started, and the Erlang VM, which is in its process group."""
        server, self._server = self._server, None
        if server is None:
            return
        os.killpg(server.pid, how)
        try:
            server.wait(_STOP_SECONDS)
            self._wait_until_it_is_gone()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)

    def _wait_until_it_is_gone(self) -> None:
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            except OSError:
                return
            time.sleep(0.05)

    def close(self) -> None:
        self._end(signal.SIGKILL)
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(_STOP_SECONDS)
            self._epmd = None
        self._folder.cleanup()


def _make_certificate(certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@contextlib.contextmanager
def running() -> Iterator[RabbitMQ]:
    """A started node, ended with all that belongs to it."""
    node = RabbitMQ()
    try:
        node.start()
        yield node
    finally:
        node.close()
