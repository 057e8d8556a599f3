"""Every setting, its default and its bounds. From the environment (`SEEDROUTER_*`), or a `.env` in the working folder.

The rules' own numbers have their defaults in `domain/rules.py`; here they get their bounds and their names for operators.
"""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Self

import msgspec
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

from router.domain.countries import unknown_codes
from router.domain.fraud import PREFIX, FraudRules, Mode
from router.domain.rules import AcceptWhen, AmbiguousPolicy, Policy, Rules, SilencePolicy
from router.domain.statistics import FLOW, Family
from router.domain.sync import FrameFormat, SyncRules
from router.domain.webhooks import WebhookRules

_RULES = Rules()
_SYNC_RULES = SyncRules()
_FRAUD_RULES = FraudRules()

Network = IPv4Network | IPv6Network
_WEBHOOK_RULES = WebhookRules()


def default_data() -> Path:
    """Where data goes when nobody says: `$XDG_DATA_HOME/seedrouter`, or `~/.local/share/seedrouter`."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "seedrouter"


def _rule(name: str, description: str, **bounds: Any) -> Any:
    return Field(default=getattr(_RULES, name), description=description, **bounds)


def _webhook(name: str, description: str, **bounds: Any) -> Any:
    return Field(default=getattr(_WEBHOOK_RULES, name), description=description, **bounds)


def _fraud(name: str, description: str, **bounds: Any) -> Any:
    return Field(default=getattr(_FRAUD_RULES, name), description=description, **bounds)


def _sync(name: str, description: str, **bounds: Any) -> Any:
    return Field(default=getattr(_SYNC_RULES, name), description=description, **bounds)


class _SecretFiles(SecretsSettingsSource):
    """Reads `secrets_dir`, which the sources above this one have said; pydantic's own has to know its folder before."""

    def __call__(self) -> dict[str, Any]:
        folder = self.current_state.get("secrets_dir")
        if not folder or not Path(folder).is_dir():
            return {}
        self.secrets_dir = folder
        return super().__call__()


class Settings(BaseSettings):
    """All settings of all roles. Times are seconds."""

    model_config = SettingsConfigDict(env_prefix="SEEDROUTER_", env_file=".env", extra="ignore", validate_default=True)

    # Where things are
    data: Path = Field(default_factory=default_data, description="the data folder: embedded Redis, secrets, run.json")
    redis_url: str = Field(default="", description="a Redis URL (docs/brokers.md); empty = bring one along in the data folder")
    broker_url: str = Field(default="", description="where the queue is: a Redis URL or amqp:// (docs/brokers.md); empty = the same Redis")
    host: str = Field(default="127.0.0.1", description="address the API listens on")
    port: int = Field(default=8080, ge=0, le=65535, description="port of the API")
    public_url: str = Field(default="", description="how clients reach the API, where it differs")
    dispatcher_metrics_port: int = Field(default=9401, ge=0, le=65535, description="0 = any free one")
    timekeeper_metrics_port: int = Field(default=9402, ge=0, le=65535, description="0 = any free one")
    courier_metrics_port: int = Field(default=9403, ge=0, le=65535, description="0 = any free one")
    relay_metrics_port: int = Field(default=9404, ge=0, le=65535, description="0 = any free one")
    log_format: str = Field(default="auto", pattern="^(auto|console|json)$", description="auto = console on a terminal, else JSON")
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$", description="the least that is logged")

    # Secrets: those not given are made at the first start and kept in the data folder
    secrets_dir: str = Field(
        default="",
        description="a folder of files, each with the value of the setting of its name (`operator_token`); secrets are not made then",
    )
    operator_token: SecretStr = Field(default=SecretStr(""), description="bearer token of the operator API")
    jwt_secret: SecretStr = Field(default=SecretStr(""), description="signs the tokens of the SMSGate API, at least 32 bytes")
    mobile_private_token: SecretStr = Field(default=SecretStr(""), description="lets SMSGate phones register")
    code_pepper: SecretStr = Field(default=SecretStr(""), description="64 hex digits: keys the hashes of codes")
    seal_key: SecretStr = Field(default=SecretStr(""), description="64 hex digits: seals message texts (AES-256-GCM)")
    sync_key: SecretStr = Field(default=SecretStr(""), description="PEM of an RSA key, 2048 bits or more: opens the passwords of syncs")
    enrolment_token: SecretStr = Field(default=SecretStr(""), description="lets a seed enrol itself by its ping; empty = off")

    # Tokens of the SMSGate API
    tokens: bool = Field(default=True, description="give them out; off: asking for one is 501, and showing one is 401")
    access_token_seconds: int = Field(default=900, ge=10, le=86400, description="how long an access token lives, at most")
    refresh_token_seconds: int = Field(default=30 * 86400, ge=86400, le=366 * 86400, description="how long it can be refreshed")

    # Bounds of what is taken in
    max_body_bytes: int = Field(
        default=65536, ge=1024, description="larger request bodies are refused with 413; SMSGate's messages may have 1 MiB"
    )
    max_queue_length: int = Field(default=1_000_000, ge=1, description="beyond it new messages are refused with 503")
    max_messages_per_pull: int = Field(default=100, ge=1, le=1000, description="messages a seed may fetch in one call")
    max_reports_per_call: int = Field(default=1000, ge=1, description="reports a seed may send in one call")
    max_wait_seconds: float = Field(default=30.0, ge=0, le=120, description="of a seed's long-poll")
    gather_seconds: float = Field(
        default=0.1, ge=0, le=5, description="a seed that was just given messages gets the next ones so much later: fewer and larger pulls"
    )
    max_text_length: int = Field(default=1600, ge=1, description="characters of a plain SMS")
    max_password_checks: int = Field(default=100, ge=1, le=10_000, description="logins that wait for the check of a password; then 503")
    wrong_codes_per_minute: int = Field(default=20, ge=1, le=1000, description="wrong codes of phones that join an account; then 429")
    max_token_families: int = Field(
        default=10_000, ge=1, le=1_000_000, description="grants of SMSGate tokens an account may have; a new one ends the oldest"
    )
    retention_seconds: int = Field(default=7 * 86400, ge=60, description="how long a record is kept after its message's time is over")
    idempotency_seconds: int = Field(default=86400, ge=60, description="how long an Idempotency-Key is remembered")

    # Accounts' defaults
    currency: str = Field(default="DZD", pattern="^[A-Z]{3}$", description="of wallets and prices")
    price: int = Field(default=0, ge=0, description="minor units per message, for accounts without a price of their own")
    daily_limit: int = Field(default=100, ge=0, description="messages per account and UTC day; 0 = none")
    hourly_limit: int = Field(default=0, ge=0, description="messages per account and hour; 0 = none")
    phone_hourly_limit: int = Field(default=10, ge=0, description="messages per phone, account and hour; 0 = none")
    ambiguous_policy: AmbiguousPolicy = Field(
        default="wait", description="new accounts: when nobody knows whether it went out, wait, resend or fail"
    )
    default_template: str = Field(
        default="Your code is {code}. It is valid for {minutes} minutes.", description="text of an account's first template"
    )

    # Seeds
    max_devices_per_account: int = Field(default=100, ge=1, le=10_000, description="phones of SMSGate's app that an account may have")
    open_seeds: bool = Field(default=False, description="pinged seeds may send without enrolment: for closed networks only")

    max_guests: int = Field(default=10_000, ge=0, description="seeds that ping and are not enrolled; beyond it new ones hear 503")
    guest_seconds: int = Field(default=3600, ge=60, description="a seed that is not enrolled is forgotten so long after its last ping")

    # SMS that come in
    inbound_token: SecretStr = Field(
        default=SecretStr(""), description="bearer token of POST /sms/platform; empty = whoever reaches the router may post"
    )
    inbound_accounts: str = Field(
        default="*", pattern=r"^((\*|[A-Za-z0-9_-]+)(,(\*|[A-Za-z0-9_-]+))*)?$",
        description="whose sms:received webhooks hear of SMS that are no account's: ids with commas; * = everybody, of what "
        "forwarders post; what came to a SIM of nobody's is for those named by id alone",
    )  # fmt: skip
    max_inbound: int = Field(
        default=100_000, ge=0, description="SMS that wait on seedrouter.inbound; beyond it 503; 0 = no queue, webhooks only"
    )
    max_incoming_text_length: int = Field(default=16_000, ge=1, le=40_000, description="characters of an SMS that came in")
    incoming_repeat_seconds: int = Field(
        default=600, ge=1, le=86400, description="an SMS that came in without id and time is a repeat of the same one for so long"
    )
    incoming_max_age_seconds: float = Field(
        default=300.0, ge=30, le=3600, description="how old the signature of an SMS that an SMSGate phone posts may be"
    )

    # Synchronisation (websocket)
    session_change_limit: int = _sync("session_change_limit", "frames that a socket sends, each with a new session", ge=1, le=100)
    session_sleep_timeout: float = _sync("session_sleep_timeout", "seconds after each frame", gt=0, le=3600)
    session_paused_timeout: float = _sync(
        "session_paused_timeout", "seconds that a paused socket waits for the acknowledgement, after the running sleep", gt=0, le=3600
    )
    sync_format: FrameFormat = Field(default="url", description="frames are the bare URL, or JSON with qr_url and mobile_url")
    sync_wrong_passwords: int = _sync("wrong_passwords", "wrong passwords that lock the synchronisation of an account", ge=1, le=1000)
    sync_wrong_seconds: float = _sync("wrong_seconds", "within how long they count", gt=0, le=86400)
    sync_lock_seconds: float = _sync("lock_seconds", "how long it is locked then", gt=0, le=86400)
    max_sync_sockets: int = Field(default=1000, ge=1, le=100_000, description="open sockets per api process; beyond it they are closed")
    max_sync_sockets_per_user: int = _sync("sockets_per_user", "open sockets of one user, at all api processes", ge=1, le=1000)
    trusted_proxies: str = Field(
        default="", description="addresses or networks, separated by commas, whose X-Forwarded-Proto and -Host are believed; empty = none"
    )

    # Console
    console: bool = Field(default=True, description="serve the operators' pages at /console")
    console_session_seconds: int = Field(default=12 * 3600, ge=60, le=30 * 86400, description="how long a sign-in lasts, at most")
    console_idle_seconds: int = Field(
        default=2 * 3600, ge=0, le=30 * 86400,
        description="a session that nobody uses ends after so long; pages that renew themselves do not count; 0 = not before its end",
    )  # fmt: skip
    console_wrong_tokens: int = Field(default=5, ge=1, le=1000, description="wrong tokens of one address that lock it out")
    console_wrong_tokens_in_all: int = Field(
        default=100, ge=1, le=100_000, description="wrong tokens of all addresses that lock out all but browsers that have signed in before"
    )
    console_wrong_seconds: float = Field(default=300.0, gt=0, le=86400, description="within how long they count")
    console_lock_seconds: float = Field(default=300.0, gt=0, le=86400, description="how long no token is heard then")

    # Reliability tests
    open_probes: bool = Field(
        default=False, description="anybody may begin a seed's reliability test; off: who has the operator token (each costs an SMS)"
    )
    probe_number: str = Field(
        default="", pattern=r"^(\+[1-9][0-9]{6,14})?$", description="where probes go, E.164; empty = an online seed of the same carrier"
    )
    probe_arrival: bool = Field(
        default=False,
        description="who has that number tells the router what it receives: a probe counts when it arrived; off: when its seed sent it",
    )
    max_clients_per_page: int = Field(default=100, ge=1, le=10_000, description="gateway clients, or tests of one, in an answer of /v3")

    # Phones that take their work from RabbitMQ
    phones_amqp_url: str = Field(default="", description="amqp:// of their RabbitMQ (docs/amqp-phones.md); empty = there are none")
    phones_amqp_project: str = Field(
        default="seedrouter", pattern="^[A-Za-z0-9-]{1,64}$", description="their exchange, where an enrolment does not say"
    )
    phones_amqp_markers: bool = Field(
        default=True, description="put an unreadable entry behind each message: when it comes back, the phone has sent the message"
    )
    phones_amqp_margin_seconds: float = Field(
        default=15.0, ge=0, le=600, description="from a lease's end until another seed may send: a phone may be sending what it has taken"
    )

    # Workers
    prefetch: int = Field(default=100, ge=1, le=10000, description="messages a dispatcher takes from the queue at once")
    visibility_timeout_seconds: float = Field(
        default=30.0, ge=5, description="queue on Redis: when what a dead dispatcher held is taken over"
    )
    heartbeat_seconds: float = Field(
        default=60.0, ge=0, le=3600, description="a message of the router's own goes through all of it so often; 0 = off"
    )
    heartbeat_late_seconds: float = Field(default=30.0, gt=0, le=600, description="one that took longer is late")
    timer_shards: int = Field(default=4, ge=1, le=256, description="must be the same for all roles")
    stop_grace_seconds: float = Field(default=20.0, ge=1, description="how long a role may take to finish what it has in hand")

    # Live figures
    statistics_seconds: int = Field(
        default=25 * 3600, ge=7200, le=31 * 86400, description="how long counts per minute are kept, for the console and `top`"
    )

    # Fraud
    fraud: Mode = _fraud(
        "mode", "prefixes whose traffic looks like SMS pumping: block them for a while, watch (mark and count them only), or off"
    )
    countries: str = Field(
        default="", pattern=r"^([A-Z]{2}(,[A-Z]{2})*)?$",
        description="whose numbers are sent to, ISO codes with commas (DZ,TN); others are 422; empty = all",
    )  # fmt: skip
    fraud_prefix_digits: int = _fraud(
        "prefix_digits", "digits behind the country code that make a prefix; must be the same for all roles", ge=1, le=10
    )
    fraud_window_seconds: int = _fraud("window_seconds", "what is judged, whole minutes", ge=60, le=3600, multiple_of=60)
    fraud_floor: int = _fraud("floor", "codes to one prefix within the window below which nothing is judged", ge=2, le=1_000_000)
    fraud_velocity_factor: float = _fraud("velocity_factor", "how much faster than usual is suspicious", ge=1, le=1000)
    fraud_limit: int = _fraud(
        "limit", "codes to one prefix within the window, whoever wants them; beyond it the prefix is blocked for a window; 0 = none", ge=0
    )
    fraud_conversion_share: float = _fraud(
        "conversion_share", "below this share of its carrier's usual conversion a fast prefix is blocked", ge=0, lt=1
    )
    fraud_near_share: float = _fraud(
        "near_share", "from this share of numbers next to each other on a fast prefix is blocked", gt=0, le=1
    )
    fraud_ripe_seconds: int = _fraud(
        "ripe_seconds", "from a minute's beginning until its codes should have come back", ge=0, le=3600
    )
    fraud_usual_seconds: int = _fraud("usual_seconds", "what happened so long ago counts a third of what happens", ge=600, le=31 * 86400)
    fraud_block_seconds: int = _fraud("block_seconds", "first block of a prefix; doubles", ge=60, le=31 * 86400)
    fraud_block_max_seconds: int = _fraud("block_max_seconds", "longest block", ge=60, le=366 * 86400)
    fraud_spare_seconds: int = _fraud("spare_seconds", "a prefix that an operator freed is not blocked for so long", ge=0, le=31 * 86400)
    fraud_plain: bool = _fraud("plain", "judge plain SMS as well as codes: by velocity and sequence, since nothing of them comes back")

    drain_seconds: float = Field(
        default=0.0, ge=0, le=300,
        description="an api that is told to stop goes on for so long, and /health/serving says 503: a proxy sends the next ones elsewhere",
    )  # fmt: skip

    # Webhooks
    max_webhooks: int = Field(default=50, ge=1, le=1000, description="webhooks an account may have")
    webhook_allow_http: bool = Field(default=False, description="webhooks may be plain http: what they are told can be read on the way")
    webhook_allow_private: bool = Field(
        default=False, description="webhooks may lead to private addresses, and by http to this machine: for closed networks only"
    )
    webhook_timeout_seconds: float = _webhook("timeout_seconds", "how long a try may take, redirects included", gt=0, le=300)
    webhook_tries: int = _webhook("tries", "tries of a delivery; then it is dead, and an operator can replay it", ge=1, le=100)
    webhook_retry_seconds: float = _webhook("retry_seconds", "pause after the first try; doubles", gt=0, le=3600)
    webhook_retry_max_seconds: float = _webhook("retry_max_seconds", "longest pause between tries", gt=0, le=86400)
    webhook_max_age_seconds: float = _webhook("max_age_seconds", "a delivery that has waited for so long is dead", ge=60)
    webhook_per_target: int = _webhook("per_target", "deliveries under way at once per courier and target (scheme, host, port)", ge=1)
    webhook_total: int = _webhook("total", "deliveries under way at once per courier", ge=2, le=10_000)
    webhook_breaker_failures: int = _webhook("breaker_failures", "failures in a row that open a target's breaker", ge=1)
    webhook_breaker_pause_seconds: float = _webhook("breaker_pause_seconds", "first pause of such a target; doubles", gt=0)
    webhook_breaker_pause_max_seconds: float = _webhook("breaker_pause_max_seconds", "longest pause of such a target", gt=0)
    webhook_dead_seconds: float = _webhook("dead_seconds", "how long dead deliveries are kept", ge=60)
    webhook_max_dead: int = _webhook("max_dead", "dead deliveries that are kept; beyond it the oldest go", ge=1)

    # The rules' own
    lease_seconds: float = _rule("lease_seconds", "how long a seed may take to give a message to the radio", gt=0, le=600)
    skew_seconds: float = _rule(
        "skew_seconds", "added to a lease's end before another seed may send, where a phone goes by its clock", ge=0, le=600
    )
    ask_seconds: float = _rule("ask_seconds", "so long before its lease ends a phone that tells afterwards is asked", ge=0, le=600)
    ask_again_seconds: float = _rule(
        "ask_again_seconds", "so long after that it is asked again, until another seed may have the message; 0 = once", ge=0, le=600
    )
    unknown_skew_seconds: float = _rule(
        "unknown_skew_seconds", "what the clock of an SMSGate phone that has not reported yet may be off by", ge=0, le=3600
    )
    pickup_seconds: float = _rule("pickup_seconds", "a message that its seed has not fetched for so long moves at once", gt=0, le=600)
    radio_seconds: float = _rule("radio_seconds", "silence after the radio; then the attempt is ambiguous", gt=0, le=3600)
    silence: SilencePolicy = _rule(
        "silence", "a lease of an SMSGate phone ends without a word: resend, or what the account does with ambiguous attempts"
    )
    max_attempts: int = _rule("max_attempts", "attempts that seeds really had; then the message fails", ge=1, le=100)
    failover_budget: float = _rule(
        "failover_budget", "failovers allowed per first attempt; past it only seeds known to be good are used", ge=0, le=10
    )
    failover_budget_burst: float = _rule("failover_budget_burst", "failovers allowed at once before the budget counts", ge=1)
    failover_budget_per_second: float = _rule("failover_budget_per_second", "failovers allowed per second whatever the traffic", ge=0)
    republish_seconds: float = _rule(
        "republish_seconds", "a message that nobody took for so long is queued again; doubles each time", gt=0
    )
    policy: Policy = _rule("policy", "how a seed is chosen")
    choices: int = _rule("choices", "random candidates that `balanced` compares", ge=1, le=50)
    even_score: float = _rule("even_score", "scores no further apart are even: the seed that was idle longest is chosen", ge=0, le=100)
    slowness_weight: float = _rule("slowness_weight", "what each second from hand-over to sent adds to a seed's score", ge=0, le=100)
    silence_weight: float = _rule(
        "silence_weight", "what each second without a sign of life adds to a seed's score, beyond its usual pause", ge=0, le=100
    )
    cross_carrier: bool = _rule("cross_carrier", "may another carrier's seed of the same country serve?")
    accept_when: AcceptWhen = _rule(
        "accept_when", "where a seed must be online for a message to be accepted: its carrier, its country, or nowhere"
    )
    online_window_seconds: float = _rule("online_window_seconds", "a seed is online for so long after its last sign of life", gt=0)
    pace_seconds: float = _rule("pace_seconds", "time a seed takes for one part, where it does not say", gt=0)
    lease_fill: float = _rule("lease_fill", "share of a lease that may be planned full", gt=0, le=1)
    parts_per_half_hour: int = _rule("parts_per_half_hour", "parts per SIM; Android's own limit is 30; 0 = none", ge=0)
    parts_per_hour: int = _rule("parts_per_hour", "parts per SIM; 0 = none", ge=0)
    parts_per_day: int = _rule("parts_per_day", "parts per SIM; 0 = none", ge=0)
    recipients_per_month: int = _rule("recipients_per_month", "distinct recipients per SIM and UTC month; 0 = none", ge=0)
    limit_rest_seconds: float = _rule(
        "limit_rest_seconds", "first rest between messages of a SIM that was told it sends too fast; doubles", gt=0, le=3600
    )
    limit_rest_max_seconds: float = _rule("limit_rest_max_seconds", "longest such rest", gt=0, le=86400)
    retry_seed_seconds: float = _rule("retry_seed_seconds", "a seed that had a message is passed over for it for so long", ge=0)
    breaker_failures: int = _rule("breaker_failures", "failures in a row that trip a seed's breaker", ge=1)
    breaker_pause_seconds: float = _rule("breaker_pause_seconds", "first pause of a tripped seed; doubles", gt=0)
    breaker_pause_max_seconds: float = _rule("breaker_pause_max_seconds", "longest pause of a tripped seed", gt=0)
    stats_decay: float = _rule("stats_decay", "what an outcome of a seed is worth after the next one", gt=0, lt=1)
    probe_seconds: float = _rule("probe_seconds", "a reliability test that has not succeeded by then is lost", ge=10, le=3600)
    probe_route_seconds: float = _rule(
        "probe_route_seconds", "a probe of whose arrival the router was told later than that does not count as reliable", ge=1, le=3600
    )
    probes_per_hour: int = _rule("probes_per_hour", "reliability tests that may be begun per seed, each an SMS; 0 = none", ge=0, le=1000)
    probes_kept: int = _rule("probes_kept", "reliability tests that are kept per seed, the latest ones", ge=1, le=1000)
    probes_counted: int = _rule("probes_counted", "finished tests that the reliability is made of, the latest ones", ge=1, le=1000)
    probes_least: int = _rule("probes_least", "finished tests that it takes for the choice of seeds to heed the reliability", ge=1, le=1000)
    probe_weight: float = _rule("probe_weight", "what a seed that loses every probe adds to its score", ge=0, le=100)
    code_seconds: float = _rule("code_seconds", "life of a code, in an account's first template", ge=30, le=3600)
    sms_seconds: float = _rule("sms_seconds", "how long a plain SMS may wait for a seed", ge=5)
    max_validity_seconds: float = _rule("max_validity_seconds", "the longest time that a client may give a message", ge=60)
    code_length: int = _rule("code_length", "digits, in an account's first template", ge=4, le=10)
    code_tries: int = _rule("code_tries", "wrong tries that end a code", ge=1, le=100)
    replace_older_code: bool = _rule("replace_older_code", "a new code to the same phone ends the account's older one")
    default_region: str = _rule("default_region", "country of numbers in national format", pattern="^[A-Z]{2}$")

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource, file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        """Files of `secrets_dir` come last: whatever says a setting elsewhere stands above them."""
        return init_settings, env_settings, dotenv_settings, _SecretFiles(settings_cls, env_prefix="")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.secrets_dir and not Path(self.secrets_dir).is_dir():
            raise ValueError(f"secrets_dir: there is no folder {self.secrets_dir}")
        if self.breaker_pause_max_seconds < self.breaker_pause_seconds:
            raise ValueError("breaker_pause_max_seconds must not be less than breaker_pause_seconds")
        if self.probes_kept < max(self.probes_per_hour, self.probes_counted):
            raise ValueError("probes_kept must not be less than probes_per_hour and probes_counted")
        if self.limit_rest_max_seconds < self.limit_rest_seconds:
            raise ValueError("limit_rest_max_seconds must not be less than limit_rest_seconds")
        if self.webhook_breaker_pause_max_seconds < self.webhook_breaker_pause_seconds:
            raise ValueError("webhook_breaker_pause_max_seconds must not be less than webhook_breaker_pause_seconds")
        if self.webhook_retry_max_seconds < self.webhook_retry_seconds:
            raise ValueError("webhook_retry_max_seconds must not be less than webhook_retry_seconds")
        if self.fraud_block_max_seconds < self.fraud_block_seconds:
            raise ValueError("fraud_block_max_seconds must not be less than fraud_block_seconds")
        if self.fraud_block_seconds < self.fraud_window_seconds:
            # Else what a prefix was blocked for would be in the window still, and it would be blocked again without any new message
            raise ValueError("fraud_block_seconds must not be less than fraud_window_seconds")
        if unknown := unknown_codes(filter(None, self.countries.split(","))):
            raise ValueError(f"countries: {', '.join(unknown)}: no ISO code of a country")
        self.proxies()
        return self

    def proxies(self) -> tuple[Network, ...]:
        """`trusted_proxies`, read. Raises ValueError."""
        return tuple(ip_network(word.strip()) for word in self.trusted_proxies.split(",") if word.strip())

    def rules(self) -> Rules:
        """The rules' numbers as the domain takes them."""
        return Rules(**{field.name: getattr(self, field.name) for field in msgspec.structs.fields(Rules)})

    def families(self) -> tuple[Family, ...]:
        """What is counted in buckets of time, and how long it is kept."""
        return (
            Family(name=FLOW, keep_seconds=self.statistics_seconds),
            Family(name=PREFIX, keep_seconds=self.fraud_rules().keep_seconds),
        )

    def fraud_rules(self) -> FraudRules:
        """The numbers of the verdicts on prefixes, and the countries that are served."""
        names = [field.name for field in msgspec.structs.fields(FraudRules) if field.name not in ("mode", "countries")]
        countries = frozenset(code for code in self.countries.split(",") if code)
        return FraudRules(mode=self.fraud, countries=countries, **{name: getattr(self, f"fraud_{name}") for name in names})

    def webhook_rules(self) -> WebhookRules:
        """The courier's numbers."""
        names = [field.name for field in msgspec.structs.fields(WebhookRules) if field.name != "jitter"]
        return WebhookRules(**{name: getattr(self, f"webhook_{name}") for name in names})

    def sync_rules(self) -> SyncRules:
        """The numbers of the synchronisation."""
        return SyncRules(
            session_change_limit=self.session_change_limit, session_sleep_timeout=self.session_sleep_timeout,
            session_paused_timeout=self.session_paused_timeout, wrong_passwords=self.sync_wrong_passwords,
            wrong_seconds=self.sync_wrong_seconds, lock_seconds=self.sync_lock_seconds,
            sockets_per_user=self.max_sync_sockets_per_user,
        )  # fmt: skip

    def given_secrets(self) -> dict[str, str]:
        """The secrets that were given by settings, by their name in `router.secrets`."""
        names = ("operator_token", "jwt_secret", "mobile_private_token", "code_pepper", "seal_key", "sync_key")
        values = {name: getattr(self, name).get_secret_value() for name in names}
        return {name: value for name, value in values.items() if value}
