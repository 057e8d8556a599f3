"""The numbers that the rules work with, and their defaults. `router.settings` lets an operator change each one."""

from typing import Literal

import msgspec

Policy = Literal["balanced", "freshest", "round-robin"]
AcceptWhen = Literal["carrier", "country", "always"]
AmbiguousPolicy = Literal["wait", "resend", "fail"]
SilencePolicy = Literal["resend", "account"]
"""`account`: as for every ambiguous attempt, the account's policy decides."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """All bounds in one value, handed to the pure functions of this package. Times are seconds."""

    # Leases and failover
    lease_seconds: float = 5.0
    """How long a seed may take to give a message to the radio, from hand-over. Short beats long (docs/routing.md)."""
    skew_seconds: float = 1.0
    """Added to a lease's end before another seed may send: what a phone's clock may be off by, at the least."""
    ask_seconds: float = 1.0
    """So long before the end of its lease a phone that tells afterwards, and has said nothing yet, is asked."""
    ask_again_seconds: float = 1.0
    """So long after a question it is asked again, until another seed may begin; 0 = once is enough."""
    unknown_skew_seconds: float = 15.0
    """What the clock of a phone that has not reported yet may be off by, where it goes by its lease alone."""
    pickup_seconds: float = 3.0
    """A message that its seed has not fetched for so long moves at once: it was never handed over."""
    radio_seconds: float = 30.0
    """Silence after a seed said that it gave the message to the radio; after it the attempt is ambiguous."""
    silence: SilencePolicy = "resend"
    """When a lease ends without a word and the phone tells only afterwards (SMSGate's app): nobody knows then whether it went out."""
    max_attempts: int = 5
    failover_budget: float = 0.2
    """Failovers allowed per first attempt; past it only seeds known to be good are used."""
    failover_budget_burst: float = 50.0
    failover_budget_per_second: float = 1.0
    """Failovers allowed per second whatever the traffic."""
    republish_seconds: float = 5.0
    """A pending message that is neither queued nor parked for so long is published again; doubles each time."""

    # Choosing
    policy: Policy = "balanced"
    choices: int = 5
    """How many random candidates are compared by `balanced`."""
    even_score: float = 0.3
    """Seeds whose scores differ by no more are equally good: the one that was idle longest is chosen."""
    slowness_weight: float = 0.2
    """What each second that it took lately, from hand-over to sent, adds to a seed's score."""
    silence_weight: float = 1.0
    """What each second without a sign of life adds to a seed's score, beyond the pause that is usual for it."""
    cross_carrier: bool = False
    """May a seed of another carrier of the same country serve, when the recipient's carrier has none with room?"""
    accept_when: AcceptWhen = "country"
    """Where a seed must be online for a message to be accepted at all: else the caller hears 'no available devices'."""
    online_window_seconds: float = 20.0
    pace_seconds: float = 3.0
    """How long a seed takes for one part, unless the seed says otherwise."""
    lease_fill: float = 0.8
    """The share of a lease that may be planned full: room = the message that is being sent, and lease × fill ÷ pace that wait behind it."""
    parts_per_half_hour: int = 30
    """Android's own limit for an app, in parts. 0 = none; so for the next two."""
    parts_per_hour: int = 0
    parts_per_day: int = 0
    recipients_per_month: int = 0
    """Distinct recipients per SIM and UTC month. 0 = none."""
    limit_rest_seconds: float = 5.0
    """How long a SIM that sends too fast rests between messages at first; doubles with each further limit error, shrinks with successes."""
    limit_rest_max_seconds: float = 1800.0
    """The window of Android's own limit."""

    retry_seed_seconds: float = 15.0
    """A seed that has had a message is passed over for it for so long; after that it may try again, if none is better."""

    # Breaker
    breaker_failures: int = 2
    breaker_pause_seconds: float = 15.0
    breaker_pause_max_seconds: float = 300.0
    stats_decay: float = 0.95
    """What an outcome is worth after the next one: 0.95 remembers about the last twenty."""

    # Reliability tests (`reliability`)
    probe_seconds: float = 600.0
    """A test that has not succeeded by then is lost (spec: ten minutes)."""
    probe_route_seconds: float = 180.0
    """From the arrival of a probe until the router was told of it: what took longer is no success for the reliability (spec)."""
    probes_per_hour: int = 6
    """Tests that may be begun per seed: each costs an SMS."""
    probes_kept: int = 50
    """Tests that are kept per seed, the latest ones."""
    probes_counted: int = 20
    """Finished tests that the reliability is made of, the latest ones."""
    probes_least: int = 3
    """With fewer finished tests the choice of seeds takes no notice of them."""
    probe_weight: float = 4.0
    """What a seed that loses every probe adds to its score: as much as half of one that fails whatever it is given."""

    # Messages and codes
    code_seconds: float = 300.0
    sms_seconds: float = 3600.0
    """How long a plain SMS may wait for a seed."""
    max_validity_seconds: float = 7 * 86400.0
    """The longest time that a client may give a message."""
    code_length: int = 6
    code_tries: int = 5
    replace_older_code: bool = True
    """A new code to the same phone by the same account cancels the older open one."""
    default_region: str = "DZ"

    @property
    def longest_seconds(self) -> float:
        """How long any plain SMS may wait for a seed."""
        return max(self.max_validity_seconds, self.sms_seconds)
