"""The secrets of one installation, made at the first start and kept in the data folder, and the seal of message texts at rest."""

import fcntl
import hmac
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from router.data_folder import make_private
from router.domain.errors import RouterError

FILE_NAME = "secrets.json"
JWT_SECRET_BYTES = 32
"""RFC 7518, 3.2: an HS256 key is at least as long as the hash."""
KEY_BYTES = 32
NONCE_BYTES = 12
SEAL_VERSION = b"\x01"
SYNC_KEY_BITS = 2048
"""Of the key that is made; a given one may be longer."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class SecretsInvalid(RouterError):
    """A secret that was given or kept cannot be used. Names it, and never shows it."""


class SealBroken(RouterError):
    """The sealed text was changed, cut off, or sealed with another key or for another message."""

    def __init__(self) -> None:
        super().__init__("the sealed text cannot be opened")


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """All secrets. Neither `repr` nor rich shows one."""

    operator_token: str
    """Bearer token of the operator API."""
    jwt_secret: str
    """HS256 key of the SMSGate tokens, at least 32 bytes."""
    mobile_private_token: str
    """With which a phone registers itself at the SMSGate dialect."""
    code_pepper: str
    """Key of the hashes of one-time codes: 32 bytes in hex."""
    seal_key: str
    """AES-256-GCM key of `Sealer`: 32 bytes in hex."""
    sync_key: str
    """RSA private key, as PEM: clients of the synchronisation encrypt their passwords for it."""

    def __repr__(self) -> str:
        return "Secrets(…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


def _make_sync_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=SYNC_KEY_BITS)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


_MAKERS: dict[str, Callable[[], str]] = {
    "operator_token": lambda: secrets.token_urlsafe(32),
    "jwt_secret": lambda: secrets.token_urlsafe(48),
    "mobile_private_token": lambda: secrets.token_urlsafe(32),
    "code_pepper": lambda: secrets.token_hex(KEY_BYTES),
    "seal_key": lambda: secrets.token_hex(KEY_BYTES),
    "sync_key": _make_sync_key,
}


def load_secrets(data: Path, given: Mapping[str, str], *, make: bool = True) -> Secrets:
    """The secrets of this data folder: those in `given` (name of the field → value, empty = not given) win, the others come from
    `data`/secrets.json, and those that are nowhere are made and written there (mode 600; what was given is not written).

    Without `make` none is made: roles on several machines would each make others. Many processes may call this at once and end with the
    same secrets. Raises `SecretsInvalid`; a file that cannot be used is never overwritten.
    """
    if unknown := sorted(given.keys() - _MAKERS.keys()):
        raise SecretsInvalid(f"no such secret: {', '.join(unknown)}")
    fixed = {name: value for name, value in given.items() if value}
    if "sync_key" in fixed:
        # A PEM has lines; an environment file may have them as \n only
        fixed["sync_key"] = fixed["sync_key"].replace("\\n", "\n")
    for name, value in fixed.items():
        if fault := _fault(name, value):
            raise SecretsInvalid(f"{name}: {fault}")
    path = data / FILE_NAME
    if fixed.keys() < _MAKERS.keys():
        # A complete file is read without the lock: it is only ever replaced whole, and the folder may be read-only.
        kept = _read(path)
        if missing := sorted(_MAKERS.keys() - kept.keys() - fixed.keys()):
            if not make:
                raise SecretsInvalid(f"not given, and not in {path}: {', '.join(missing)}")
            kept = _complete(path, fixed)
        fixed = kept | fixed
    return Secrets(**{name: fixed[name] for name in _MAKERS})


def make_secrets(known: Mapping[str, str]) -> Secrets:
    """Those that are known already, by their name, and new ones in place of the others; nothing is kept. Raises `SecretsInvalid`."""
    for name, value in known.items():
        if fault := _fault(name, value):
            raise SecretsInvalid(f"{name}: {fault}")
    return Secrets(**{name: known[name] if name in known else make() for name, make in _MAKERS.items()})


class Sealer:
    """Seals message texts, so that neither the append-only file nor a backup shows one.

    A sealed text is a version byte, a random nonce of 12 bytes, and AES-256-GCM's ciphertext and tag, with the message's id as
    associated data: moved to another message it does not open. Source: NIST SP 800-38D.
    """

    def __init__(self, key: bytes) -> None:
        """`key` is 32 bytes; raises ValueError else."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a seal key is {KEY_BYTES} bytes")
        self._cipher = AESGCM(key)
        self._fingerprint_key = hmac.digest(key, b"fingerprints", "sha256")

    def seal(self, text: str, message_id: str) -> bytes:
        """Seal any str, a lone surrogate included (an application may send half an emoji)."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return SEAL_VERSION + nonce + self._cipher.encrypt(nonce, _bytes(text), _bytes(message_id))

    def fingerprint(self, text: str, among: str) -> int:
        """63 bits by which to know a text again that is not to be kept; without the key nobody can try texts against them.

        `among` is where it is to be known again: elsewhere the same text has another fingerprint.
        """
        digest = hmac.digest(self._fingerprint_key, _bytes(f"{among}\n{text}"), "sha256")
        return int.from_bytes(digest[:8]) >> 1

    def open(self, sealed: bytes, message_id: str) -> str:
        """The text that was sealed for this message. Raises `SealBroken`."""
        if sealed[:1] != SEAL_VERSION:
            raise SealBroken
        nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, ciphertext, _bytes(message_id)).decode(errors="surrogatepass")
        except (InvalidTag, ValueError):
            raise SealBroken from None


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _complete(path: Path, fixed: Mapping[str, str]) -> dict[str, str]:
    make_private(path.parent)
    lock = os.open(path.with_name("secrets.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Read again: another process may have made them while this one waited.
        kept = _read(path)
        made = {name: make() for name, make in _MAKERS.items() if name not in kept and name not in fixed}
        if made:
            _write(path, kept | made)
            log.info("secrets_made", names=sorted(made), path=str(path))
        return kept | made
    finally:
        os.close(lock)


def _read(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise SecretsInvalid(f"{path} can be read by others; run: chmod 600 {path}")
            text = file.read()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SecretsInvalid(f"{path} cannot be read: {error.strerror}") from None
    try:
        kept = msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Not chained: msgspec's message and a traceback's locals could show a part of the file.
        raise SecretsInvalid(f"{path} is broken; restore it from a backup, or remove it to have new secrets made") from None
    for name, value in kept.items():
        if fault := _fault(name, value):
            raise SecretsInvalid(f"{path}: {name}: {fault}")
    return kept


def _write(path: Path, kept: Mapping[str, str]) -> None:
    fd, name = tempfile.mkstemp(prefix=".secrets-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _fault(name: str, value: str) -> str | None:
    if name not in _MAKERS:
        return None
    if name == "sync_key":
        return None if _is_rsa(value) else f"must be an RSA private key of {SYNC_KEY_BITS} bits or more, as PEM, not encrypted"
    if not value.isascii() or not value.isprintable() or value != value.strip():
        return "must be printable ASCII without spaces around it"
    if name == "jwt_secret" and len(value) < JWT_SECRET_BYTES:
        return f"must be at least {JWT_SECRET_BYTES} bytes"
    if name in ("code_pepper", "seal_key") and not _is_key(value):
        return f"must be {KEY_BYTES} bytes in hex"
    return None if value else "must not be empty"


def _is_key(value: str) -> bool:
    try:
        return len(bytes.fromhex(value)) == KEY_BYTES and len(value) == 2 * KEY_BYTES
    except ValueError:
        return False


def _is_rsa(value: str) -> bool:
    try:
        # Its arithmetic is not tried: that takes a tenth of a second, at each start of each command
        key = serialization.load_pem_private_key(value.encode(), None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return isinstance(key, rsa.RSAPrivateKey) and key.key_size >= SYNC_KEY_BITS
