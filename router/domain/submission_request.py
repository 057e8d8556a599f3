"""What an application asks for with SMSGate's POST /messages, and what of it is refused. Pure: whatever needs the store comes later.

Source: spec of SMSGate's third-party API. `Invalid` names the field as it stands on the wire.
"""

import base64
import binascii
from typing import Final

import msgspec

from router.domain.errors import Invalid
from router.domain.message import Lane
from router.domain.numbering import Number, parse_number
from router.domain.rules import Rules
from router.domain.segments import count_segments
from router.domain.texts import check_text

MOST_RECIPIENTS: Final = 100
_LONGEST_ID: Final = 36
_LONGEST_DEVICE_ID: Final = 21
_LONGEST_TEXT: Final = 65535
"""Characters of a text, and of a data message's base64."""
_LONGEST_RECIPIENT: Final = 128
_HIGHEST_SIM: Final = 3
_HIGHEST_PORT: Final = 65535
_PRIORITIES: Final = range(-128, 128)
_EXPEDITED: Final = 100
"""From this priority on the phone's own limits do not count, upstream; here it means the first lane."""
_SHORTEST_TTL_SECONDS: Final = 5

_USER_DATA_OCTETS: Final = 140
_PORT_HEADER_OCTETS: Final = 7
_PORT_AND_PART_HEADER_OCTETS: Final = 12


class NotUnique(Invalid):
    """The contract has this text to the letter."""

    def __init__(self) -> None:
        super().__init__("phoneNumbers", "must be unique")
        self.args = ("phone numbers must be unique",)


class NewSubmission(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Times are Unix seconds."""

    recipients: tuple[str, ...]
    body: str
    """The text; of a data message its bytes in base64; or a ciphertext of either."""
    data_port: int | None = None
    """Given: it is a data message to that port."""
    id: str = ""
    """The client's own; empty: we make one."""
    device: str = ""
    sim: int | None = None
    delivery_report: bool = True
    encrypted: bool = False
    priority: int = 0
    ttl_seconds: int | None = None
    valid_until: float | None = None
    schedule_at: float | None = None
    skip_phone_validation: bool = False
    device_active_within_hours: int = 0

    @property
    def is_taken_as_it_is(self) -> bool:
        """Nobody looks at the recipients: the client wants it so, or only the phone can read them."""
        return self.skip_phone_validation or self.encrypted

    def check(self) -> None:
        """Everything that can be told without a clock and without the recipients. Raises `Invalid`."""
        if len(self.id) > _LONGEST_ID or not self.id.isprintable():
            raise Invalid("id", f"at most {_LONGEST_ID} printable characters")
        if len(self.device) > _LONGEST_DEVICE_ID:
            raise Invalid("deviceId", f"at most {_LONGEST_DEVICE_ID} characters")
        if self.sim is not None and not 1 <= self.sim <= _HIGHEST_SIM:
            raise Invalid("simNumber", f"1 to {_HIGHEST_SIM}")
        if self.data_port is not None and not 1 <= self.data_port <= _HIGHEST_PORT:
            raise Invalid("dataMessage.port", f"1 to {_HIGHEST_PORT}")
        if self.priority not in _PRIORITIES:
            raise Invalid("priority", f"{_PRIORITIES[0]} to {_PRIORITIES[-1]}")
        if self.device_active_within_hours < 0:
            raise Invalid("deviceActiveWithin", "0 or more hours")
        field = "textMessage.text" if self.data_port is None else "dataMessage.data"
        if not self.body:
            raise Invalid(field, "must not be empty")
        check_text(field, self.body, _LONGEST_TEXT)

    def count_parts(self) -> int:
        """What one recipient costs of a SIM's quota. Of a ciphertext, by its own length: it is no shorter than what is sent.

        Raises `Invalid` where data is no base64.
        """
        if self.data_port is None or self.encrypted:
            return count_segments(self.body).parts
        try:
            octets = base64.b64decode(self.body, validate=True)
        except (binascii.Error, ValueError):
            raise Invalid("dataMessage.data", "not base64") from None
        return count_data_parts(len(octets))

    def numbers(self, default_region: str) -> list[Number]:
        """Whom it is for, in the order of the request. Raises `Invalid`, and `NotUnique`."""
        if not 1 <= len(self.recipients) <= MOST_RECIPIENTS:
            raise Invalid("phoneNumbers", f"1 to {MOST_RECIPIENTS}")
        if self.is_taken_as_it_is:
            found = [_as_it_is(place, text, default_region) for place, text in enumerate(self.recipients)]
        else:
            found = [_number(place, text, default_region) for place, text in enumerate(self.recipients)]
        if len({number.e164 for number in found}) < len(found):
            raise NotUnique
        return found

    def lane(self) -> Lane:
        """In which lane it waits.

        The first lane is not only for what is expedited: SMSGate's clients send codes with the default priority, 0, and a code that waits
        behind notifications is late. But a code is for one phone. What goes to several at that priority is none, and must not stand
        before other people's codes.
        """
        if self.priority < 0:
            return "bulk"
        return "otp" if self.priority >= _EXPEDITED or len(self.recipients) == 1 else "notification"


def _number(place: int, text: str, default_region: str) -> Number:
    try:
        return parse_number(text, default_region)
    except Invalid as error:
        raise Invalid(f"phoneNumbers[{place}]", error.reason) from None


def _as_it_is(place: int, text: str, default_region: str) -> Number:
    if not 1 <= len(text) <= _LONGEST_RECIPIENT or not text.isprintable():
        raise Invalid(f"phoneNumbers[{place}]", f"1 to {_LONGEST_RECIPIENT} printable characters")
    return Number(e164=text, country=default_region, carrier=None)


class Lifetime(msgspec.Struct, frozen=True):
    """When a message may be sent, Unix seconds. `not_before` 0 = at once."""

    not_before: float
    expires_at: float


def lifetime(asked: NewSubmission, now: float, rules: Rules) -> Lifetime:
    """From what the client said; without an end it is the rule's time for a plain SMS, from when it may be sent. Raises `Invalid`."""
    ttl_seconds, valid_until, schedule_at = asked.ttl_seconds, asked.valid_until, asked.schedule_at
    if ttl_seconds is not None and valid_until is not None:
        raise Invalid("ttl", "give either ttl or validUntil, not both")
    if ttl_seconds is not None and ttl_seconds < _SHORTEST_TTL_SECONDS:
        raise Invalid("ttl", f"at least {_SHORTEST_TTL_SECONDS} seconds")
    if valid_until is not None and valid_until <= now:
        raise Invalid("validUntil", "must be in the future")
    if schedule_at is not None and schedule_at <= now:
        raise Invalid("scheduleAt", "must be in the future")
    seconds: float
    if ttl_seconds is not None:
        field, seconds = "ttl", ttl_seconds
    elif valid_until is not None:
        field, seconds = "validUntil", valid_until - now
    else:
        field, seconds = "scheduleAt", (schedule_at or now) - now + rules.sms_seconds
    if seconds > rules.longest_seconds:
        raise Invalid(field, f"a message may wait {rules.longest_seconds:.0f} seconds at the most")
    expires_at = now + seconds
    if schedule_at is not None and schedule_at > expires_at:
        raise Invalid("scheduleAt", "must not be after the message's time is over")
    return Lifetime(schedule_at or 0.0, expires_at)


def count_data_parts(octets: int) -> int:
    """Parts of a data message: 140 octets each, less the header with its port, and where there are several with their number.

    Source: 3GPP TS 23.040, 9.2.3.24.1 and .4: a length octet, 6 octets for a 16-bit port, 5 for the number of a part.
    """
    if octets <= _USER_DATA_OCTETS - _PORT_HEADER_OCTETS:
        return 1
    return -(-octets // (_USER_DATA_OCTETS - _PORT_AND_PART_HEADER_OCTETS))
