"""Errors of a phone that say that its SIM sends too fast: they are no fault of the SIM, and a slower pace helps.

A phone tells the name of one of Android's constants (SMSGate's app: "Send result: RESULT_ERROR_LIMIT_EXCEEDED (…)"), its number, or words
of its own. Source: `android.telephony.SmsManager`, API level 34.
"""

import re
from typing import Final

LIMIT_RESULTS: Final = {5: "RESULT_ERROR_LIMIT_EXCEEDED", 106: "RESULT_RIL_REQUEST_RATE_LIMITED"}
"""5: the app's quota of messages, by default 30 parts in half an hour, or a user who refused more; 106: the radio's own limit.

28, RESULT_UNEXPECTED_EVENT_STOP_SENDING, speaks of limits in its documentation, but Android answers 5 where it was one.
"""

_NAME = re.compile(r"RESULT_[A-Z_]+")
_NUMBER = re.compile(r"(?:^|\b(?:error|code|result)\b)[ :=#(]*(\d+)\)?\s*$", re.IGNORECASE)
_WORDS = re.compile(
    r"limit[ _-]?(?:was |is )?(?:exceeded|reached)|(?:over|exceeded|reached)[ \w]{0,20} limit|rate[ _-]?limit", re.IGNORECASE
)

_DELIVERY = "Delivery result"
"""What SMSGate's app says of a failed delivery: its numbers are others."""


def is_limit_error(text: str) -> bool:
    """Does the text of a failed report mean that the SIM sends too fast?"""
    if names := _NAME.findall(text):
        # The words beside a name are its explanation, and may speak of limits where there was none
        return any(name in LIMIT_RESULTS.values() for name in names)
    number = _NUMBER.search(text)
    if number is not None and int(number[1]) in LIMIT_RESULTS:
        return not text.startswith(_DELIVERY)
    return _WORDS.search(text) is not None
