"""One-time codes: making, keeping and comparing them. Sources: NIST SP 800-63B-4 §3.1.3, OWASP's MFA cheat sheet, gatewire.md."""

import hmac
import secrets
from typing import Final

_FRAME_BYTES: Final = 8


def new_code(length: int) -> str:
    """A code of `length` decimal digits from the system's random source, each as likely as any other, leading zeros included.

    Raises ValueError below one digit.
    """
    if length < 1:
        raise ValueError("a code has at least one digit")
    return f"{secrets.randbelow(10**length):0{length}d}"


def hash_code(pepper: bytes, message_id: str, code: str) -> bytes:
    """What is kept of a code: HMAC-SHA-256 under the server's pepper over the message's id and the code, 32 bytes.

    Without the pepper all codes could be tried in a moment; with the id the same code looks different in every message.
    """
    framed_id = _encoded(message_id)
    # The length in front keeps ("1", "23") and ("12", "3") apart.
    framed = len(framed_id).to_bytes(_FRAME_BYTES, "big") + framed_id + _encoded(code)
    return hmac.digest(pepper, framed, "sha256")


def code_matches(pepper: bytes, message_id: str, code: str, expected_hash: bytes) -> bool:
    """Whether `expected_hash` was made of `code`, in a time that does not tell how close it was. Any str will do, none raises."""
    return hmac.compare_digest(hash_code(pepper, message_id, code), expected_hash)


def normalise_code(value: str | int, length: int) -> str:
    """A code as a client sent it: a JSON number gets back the leading zeros it lost, a text loses the white space around it.

    A number that no code of `length` digits can be (negative, too large) gives the empty text, which matches nothing.
    """
    if isinstance(value, str):
        return value.strip()
    # Compared as numbers: Python refuses to write out an int of more than 4,300 digits.
    return f"{value:0{length}d}" if 0 <= value < 10**length else ""


def _encoded(text: str) -> bytes:
    """UTF-8 that also takes lone surrogates, which JSON can carry."""
    return text.encode("utf-8", "surrogatepass")
