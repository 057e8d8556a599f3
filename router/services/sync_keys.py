"""The RSA of the synchronisation: the server's key, by which passwords come, and clients' keys, by which shared keys go.

OAEP with SHA-256. Its mask is MGF1 with SHA-1, which is what Android's `OAEPWithSHA-256AndMGF1Padding` means where nobody says more, or
with SHA-256 where the client asks for it. Source: RFC 8017, 7.1.
"""

import base64
import binascii
from typing import Final, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from router.domain.errors import RouterError

Mask = Literal["sha1", "sha256"]
_BITS: Final = (2048, 8192)
"""A shorter client key can be broken, a longer one costs us time."""
_LONGEST_PEM: Final = 4096
"""Characters; a key of 8192 bits takes 1,400."""


class NoPublicKey(RouterError):
    """It is no public key that we send secrets under. `str(error)` says nothing of what it is."""

    def __init__(self) -> None:
        super().__init__("no public key, RSA of {} to {} bits, as PEM".format(*_BITS))


class Undecryptable(RouterError):
    """It is no base64, or was not encrypted under our key in this way."""

    def __init__(self) -> None:
        super().__init__("cannot be decrypted")


def mask_of(name: str) -> Mask | None:
    """What a client calls a hash: `sha256`, `SHA-256`. None where we do not know it."""
    match name.lower().replace("-", ""):
        case "sha1":
            return "sha1"
        case "sha256":
            return "sha256"
        case _:
            return None


def _oaep(mask: Mask) -> padding.OAEP:
    inner = hashes.SHA256() if mask == "sha256" else hashes.SHA1()  # noqa: S303 - a mask, of which nothing but mixing is asked
    return padding.OAEP(padding.MGF1(inner), hashes.SHA256(), None)


class ServerKey:
    """The server's private key. `pem` is PKCS #8 or PKCS #1; `router.secrets` has seen to its size."""

    def __init__(self, pem: str) -> None:
        key = serialization.load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("the key of the synchronisation is not RSA")
        self._key = key
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self.public_pem = key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    def decrypt(self, encrypted: str, mask: Mask) -> str:
        """The text in base64 (line breaks in it are Android's default). Raises `Undecryptable`."""
        try:
            raw = base64.b64decode("".join(encrypted.split()), validate=True)
            return self._key.decrypt(raw, _oaep(mask)).decode()
        except (binascii.Error, ValueError):
            # UnicodeDecodeError is one, and base64 with other letters than ASCII
            raise Undecryptable from None


class ClientKey:
    """A client's public key. Raises `NoPublicKey`."""

    def __init__(self, pem: str) -> None:
        if len(pem) > _LONGEST_PEM:
            raise NoPublicKey
        try:
            key = serialization.load_pem_public_key(pem.strip().encode())
        except (ValueError, UnsupportedAlgorithm):
            raise NoPublicKey from None
        if not isinstance(key, rsa.RSAPublicKey) or not _BITS[0] <= key.key_size <= _BITS[1]:
            raise NoPublicKey
        self._key = key

    def encrypt(self, text: str, mask: Mask) -> str:
        """In base64, on one line."""
        return base64.b64encode(self._key.encrypt(text.encode(), _oaep(mask))).decode()
