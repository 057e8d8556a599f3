"""Words that are searched for and are not to stand in an address: phone numbers, and ids that clients have chosen.

An address is kept by browsers and written down by proxies. So a search is posted, and the page that it leads to has the words in its
address sealed (AES-GCM, by the router's own key, for this use alone): whoever reads the address learns nothing, and the page can still be
renewed, paged and gone back to. After a day it is over.
"""

import base64
import binascii
from typing import Final, TypeVar

import msgspec

from router.api.parts import Parts
from router.domain.errors import Invalid
from router.secrets import SealBroken, Sealer

T = TypeVar("T")
_SEALED_FOR: Final = "console search"
_GOOD_SECONDS: Final = 86400.0


def hide(parts: Parts, words: object) -> str:
    """The words (of any type that JSON can say) for an address."""
    body = msgspec.json.encode((parts.clock.now(), words)).decode()
    return base64.urlsafe_b64encode(_sealer(parts).seal(body, _SEALED_FOR)).decode().rstrip("=")


def reveal(parts: Parts, hidden: str, kind: type[T]) -> T:
    """The words of an address. Raises `Invalid` for what is not ours, or too old."""
    try:
        sealed = base64.urlsafe_b64decode(hidden + "=" * (-len(hidden) % 4))
        at, words = msgspec.json.decode(_sealer(parts).open(sealed, _SEALED_FOR), type=tuple[float, kind])  # type: ignore[valid-type]
    except (SealBroken, ValueError, binascii.Error, msgspec.MsgspecError):
        raise Invalid("find", "this search cannot be read: search again") from None
    if parts.clock.now() - at > _GOOD_SECONDS:
        raise Invalid("find", "this search is too old: search again")
    found: T = words
    return found


def _sealer(parts: Parts) -> Sealer:
    return Sealer(bytes.fromhex(parts.secrets.seal_key))
