"""How a phone with SMSGate's app behaves: the app's habits and bugs, and what comes of chance for one message, in one draw."""

import math
import random
from typing import Final, Literal

import msgspec

RadioError = Literal["RESULT_ERROR_GENERIC_FAILURE", "RESULT_ERROR_NO_SERVICE", "RESULT_ERROR_LIMIT_EXCEEDED"]

RADIO_ERRORS: Final[tuple[RadioError, ...]] = ("RESULT_ERROR_GENERIC_FAILURE", "RESULT_ERROR_NO_SERVICE")
"""What a failing radio says, one as often as the other; the limit is another matter."""
_REPEATED_WITHIN_SECONDS: Final = 1.0


class AppTimes(msgspec.Struct, frozen=True, kw_only=True):
    """How patient the app is. The defaults are its own; tests shorten them."""

    retry_seconds: float = 10.0
    """A failed call comes again after so long, then twice that, and so on (WorkManager's exponential backoff)."""
    longest_retry_seconds: float = 18_000.0
    reconnect_seconds: float = 5.0
    """An event stream that broke is opened again after so long; after 5 failures in 6 times that, after 10 in 12 times."""
    silence_seconds: float = 30.0
    """A stream on which nothing comes for so long, keepalives included, is broken."""
    poll_seconds: float = 900.0
    """A pull each so often, whatever the settings say."""
    call_seconds: float = 30.0
    minute_seconds: float = 60.0
    """How long a minute of the setting `limit_period` lasts."""
    report_tries: int = 11
    """So many failed calls, and a report is given up; the app says it again when the router lists the message once more. 0 = never."""


class AppBehaviour(msgspec.Struct, frozen=True, kw_only=True):
    """Rates are probabilities per message, 0 to 1. Times are means of exponential distributions where they say so."""

    fail_rate: float = 0.0
    """The radio does not send it, and says why."""
    lost_result_rate: float = 0.0
    """The radio never says what became of it: it stays Processed."""
    die_rate: float = 0.0
    """Goes dead between the radio and the report. It keeps its messages; what became of this one it says only when asked."""
    dead_seconds: float = 0.0
    """Mean; then it is started again. 0 = it stays dead."""
    doze_rate: float = 0.0
    """Everything stops for a while, one time in two before the message is sent, else before it is reported."""
    doze_seconds: float = 120.0
    """Mean."""
    offline_rate: float = 0.0
    """Loses the network right after the radio."""
    offline_seconds: float = 60.0
    """Mean."""
    late_report_rate: float = 0.0
    late_report_seconds: float = 10.0
    repeat_report_rate: float = 0.0
    """Says the last state twice."""
    reorder_rate: float = 0.0
    """That it was given to the radio is said only after what came of it."""
    delivered_rate: float = 0.0
    """The network says that it was delivered, where a delivery report was wanted."""
    delivery_seconds: float = 1.0
    """Mean."""
    radio_seconds: float = 0.1
    """From the radio to its result, mean."""
    radio_limit_parts: int = 30
    """Android's own limit: so many parts of a SIM in `radio_limit_seconds`, more are refused. 0 = none."""
    radio_limit_seconds: float = 1800.0
    clock_offset_seconds: float = 0.0
    """How far the phone's own clock is ahead of this machine's."""
    utc_offset_minutes: int = 60
    """The time zone in which it writes times."""
    tells_sims: bool = True
    """Without the permission to read the phone's state the app tells none."""
    masks_sims: bool = True
    """Number, carrier and ICCID have a star for each character but the last four, as newer versions of the app send them."""
    tells_what_it_cannot_cancel: bool = False
    """Says the state of a message that it is to cancel and has sent already. The app says nothing then."""
    registers_at_any_refusal: bool = True
    """Registers anew at any 401. Some versions of the app do so only at their start, and go on trying else."""
    reopens_ended_stream: bool = True
    """Opens a stream again that the server ended in order. Some versions of the app do so only where it broke."""
    reports_at_once: int = 1
    """Messages in one call at most. The app makes a call for each."""
    times: AppTimes = AppTimes()


class AppFate(msgspec.Struct, frozen=True, kw_only=True):
    """What one phone will do with one message. A delay is None where the thing does not happen."""

    error: RadioError | None
    loses_result: bool
    dies: bool
    dead_seconds: float | None
    doze_seconds: float | None
    dozes_before: bool
    offline_seconds: float | None
    late_seconds: float
    repeats_after_seconds: float | None
    is_reordered: bool
    delivered_after_seconds: float | None
    radio_seconds: float


def draw_app_fate(rng: random.Random, behaviour: AppBehaviour) -> AppFate:
    """Takes the same count of random numbers each time, so that a phone's n-th message has the same fate in every run."""
    failing, kind, losing, dying, death, dozing, doze, place = (rng.random() for _ in range(8))
    going, gone, late, repeating, repeat, order, delivering, delivery, radio = (rng.random() for _ in range(9))
    return AppFate(
        error=RADIO_ERRORS[int(kind * len(RADIO_ERRORS))] if failing < behaviour.fail_rate else None,
        loses_result=losing < behaviour.lost_result_rate,
        dies=dying < behaviour.die_rate,
        dead_seconds=_exponential(death, behaviour.dead_seconds) if behaviour.dead_seconds > 0 else None,
        doze_seconds=_exponential(doze, behaviour.doze_seconds) if dozing < behaviour.doze_rate else None,
        dozes_before=place < 0.5,
        offline_seconds=_exponential(gone, behaviour.offline_seconds) if going < behaviour.offline_rate else None,
        late_seconds=behaviour.late_report_seconds if late < behaviour.late_report_rate else 0.0,
        repeats_after_seconds=repeat * _REPEATED_WITHIN_SECONDS if repeating < behaviour.repeat_report_rate else None,
        is_reordered=order < behaviour.reorder_rate,
        delivered_after_seconds=_exponential(delivery, behaviour.delivery_seconds) if delivering < behaviour.delivered_rate else None,
        radio_seconds=_exponential(radio, behaviour.radio_seconds),
    )


def _exponential(draw: float, mean: float) -> float:
    return -math.log(1.0 - draw) * mean
