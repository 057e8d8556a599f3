"""Seeds: pings, enrolment, and what an operator does with them."""

import hmac
import re
import secrets

import msgspec
import structlog

from router import metrics
from router.clock import Clock
from router.domain.carriers import canonical_carrier, carrier_of_imsi, country_of_carrier, is_carrier
from router.domain.errors import Invalid, NotFound, Unauthorized, Unavailable
from router.domain.numbering import parse_number
from router.domain.rules import Rules
from router.domain.seed import Quota, Seed, pool_of
from router.settings import Settings
from router.store.accounts import hash_key
from router.store.seeds import Credentials, Seeds, Slip
from router.store.store import Store

_log = structlog.get_logger()
_NAME_SHAPE = re.compile(r"[A-Za-z0-9_+.-]{1,64}")


class Pinged(msgspec.Struct, frozen=True):
    """The answer to a ping. `token` is the seed's own, where this ping has enrolled it: it is shown this once."""

    lps: float
    token: str | None = None


class Held(msgspec.Struct, frozen=True):
    """An attempt at a seed that has not ended. `since`: when it was reserved (Unix seconds). `is_fetched`: the phone has it."""

    slip: Slip
    since: float
    is_fetched: bool


class SeedRegistry:
    """One per api process."""

    def __init__(self, store: Store, clock: Clock, rules: Rules, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._settings = settings

    async def ping(self, imsi: str, msisdn: str, seed_type: str, token: str = "") -> Pinged:
        """A ping (spec/relaysms.md). With the enrolment token it also enrols. Raises `Invalid`, `Unauthorized` for a wrong token."""
        check_name("IMSI", imsi)
        check_name("MSISDN", msisdn)
        check_name("seeder state", seed_type)
        known, is_guest, guests = await self._known(imsi)
        enrols = self._enrols(known, token)
        stays = enrols or known.enrolled
        if not stays and not is_guest and guests >= self._settings.max_guests:
            raise Unavailable("too many seeds that nobody has enrolled", retry_after_seconds=60)
        now = self._clock.now()
        carrier = carrier_of_imsi(imsi) or self._carrier_of_number(msisdn)
        seed = Seed(id=imsi, msisdn=msisdn, kind=seed_type, carrier=carrier, country=country_of_carrier(carrier) or "")
        own_token = secrets.token_urlsafe(24) if enrols else None
        batch = self._store.batch()
        place = self._store.seeds.ping(batch, seed, now, hash_key(own_token) if own_token else None)
        kept_carrier, enrolled = (await batch.run())[place]
        batch = self._store.batch()
        if enrolled == b"1":
            self._store.seeds.no_guest(batch, imsi)
            self._store.seeds.mark_changed(batch, imsi, now)
            _log.info("seed.enrolled", seed=imsi, carrier=kept_carrier.decode(), by="ping")
        elif not stays:
            self._store.seeds.keep_guest(batch, imsi, now, self._settings.guest_seconds)
        if stays or self._settings.open_seeds:
            pool = pool_of(kept_carrier.decode(), known.account, shared=known.shared)
            self._store.seeds.touch(batch, imsi, pool, now, first=True)
        await batch.run()
        metrics.PINGS.labels("ping").inc()
        return Pinged(now, own_token if enrolled == b"1" else None)

    async def _known(self, imsi: str) -> tuple[Credentials, bool, int]:
        """What is known of a seed; whether it is a guest, and how many guests there are."""
        batch = self._store.batch()
        Seeds.credentials(batch, imsi)
        Seeds.guest(batch, imsi)
        credentials, last_ping, guests = await batch.run()
        return self._store.seeds.parse_credentials(credentials), last_ping is not None, int(guests)

    def _enrols(self, known: Credentials, token: str) -> bool:
        """Does this token enrol the seed? The seed's own token is fine, and enrols nothing; any other is refused."""
        if not token:
            return False
        enrolment = self._settings.enrolment_token.get_secret_value()
        if enrolment and hmac.compare_digest(hash_key(token), hash_key(enrolment)):
            return True
        if known.token_hash and hmac.compare_digest(known.token_hash, hash_key(token)):
            return False
        raise Unauthorized("neither this seed's token nor the enrolment token")

    def _carrier_of_number(self, msisdn: str) -> str:
        try:
            return parse_number(msisdn, self._rules.default_region).carrier or ""
        except Invalid:
            return ""

    async def online(self) -> list[Seed]:
        """The online seeds, in order of their first ping."""
        now = self._clock.now()
        pools = await self._store.seeds.carriers(self._store.batch())
        batch = self._store.batch()
        for pool in pools:
            Seeds.pinged_since(batch, pool, 0.0)
        Seeds.guests_since(batch, now - self._rules.online_window_seconds)
        ids = {flat[i].decode() for flat in await batch.run() for i in range(0, len(flat), 2)}
        seeds = await self._store.seeds.load(self._store.batch(), sorted(ids), now)
        found = [seed for seed in seeds if seed is not None and seed.is_online(now, self._rules)]
        return sorted(found, key=lambda seed: seed.first_ping)

    async def get(self, imsi: str) -> Seed:
        """Raises `NotFound`."""
        (seed,) = await self._store.seeds.load(self._store.batch(), [imsi], self._clock.now())
        if seed is None:
            raise NotFound("no such seed")
        return seed

    async def every(self) -> list[Seed]:
        """All seeds that were ever pinged or enrolled."""
        ids = await self._store.seeds.all_ids(self._store.batch())
        return [seed for seed in await self._store.seeds.load(self._store.batch(), ids, self._clock.now()) if seed is not None]

    async def enrol(
        self, imsi: str, *, msisdn: str = "", carrier: str = "", pace_seconds: float = 0.0, quota: Quota | None = None, account: str = "",
        shared: bool = True,
    ) -> tuple[Seed, str]:  # fmt: skip
        """Makes a seed dispatchable and gives it a new token (an older one is void). Raises `Invalid`.

        One that is not shared serves its `account` only; without an account it stays with whom it was.
        """
        check_name("imsi", imsi)
        if msisdn:
            check_name("msisdn", msisdn)
        carrier = _check_carrier(carrier) if carrier else (carrier_of_imsi(imsi) or self._carrier_of_number(msisdn))
        if not carrier:
            try:
                carrier = (await self.get(imsi)).carrier
            except NotFound:
                carrier = ""
        if not carrier:
            raise Invalid("carrier", "neither the IMSI nor the MSISDN tells it; give it as MCC+MNC, e.g. 60301")
        _check_pace(pace_seconds)
        _check_quota(quota)
        _check_owner(account, shared=shared)
        token = secrets.token_urlsafe(24)
        seed = Seed(
            id=imsi, msisdn=msisdn, carrier=carrier, country=country_of_carrier(carrier) or "", pace_seconds=pace_seconds,
            quota=quota or Quota(), account=account, shared=shared,
        )  # fmt: skip
        await self._list_under(imsi, carrier, account or None, shared if account else None)
        batch = self._store.batch()
        self._store.seeds.enrol(batch, seed, hash_key(token), self._clock.now())
        await batch.run()
        _log.info("seed.enrolled", seed=imsi, carrier=carrier, by="operator")
        return await self.get(imsi), token

    async def _list_under(self, imsi: str, carrier: str, account: str | None, shared: bool | None) -> None:
        """A seed that has pinged is found in its pool, and in no other. None = as it is."""
        try:
            known = await self.get(imsi)
        except NotFound:
            return
        owner = known.account if account is None else account
        pool = pool_of(carrier, owner, shared=known.shared if shared is None else shared)
        batch = self._store.batch()
        self._store.seeds.move(batch, known, pool)
        await batch.run()

    async def change(
        self, imsi: str, *, enabled: bool | None = None, draining: bool | None = None, carrier: str | None = None,
        msisdn: str | None = None, pace_seconds: float | None = None, quota: Quota | None = None, account: str | None = None,
        shared: bool | None = None,
    ) -> Seed:  # fmt: skip
        """Changes what is given. What a seed has already got when it goes to one account alone, it still sends.

        Raises `NotFound`, `Invalid`.
        """
        known = await self.get(imsi)
        fields: dict[str, str] = {}
        if enabled is not None:
            fields |= {"enabled": str(int(enabled)), "disabled_by": "" if enabled else "operator"}
        if draining is not None:
            fields["draining"] = str(int(draining))
        if carrier is not None:
            carrier = _check_carrier(carrier)
            fields |= {"carrier": carrier, "country": country_of_carrier(carrier) or "", "carrier_by": "operator"}
        if account is not None:
            fields["account"] = account
        if shared is not None:
            fields["shared"] = str(int(shared))
        if account is not None or shared is not None:
            _check_owner(known.account if account is None else account, shared=known.shared if shared is None else shared)
        if msisdn is not None:
            check_name("msisdn", msisdn)
            fields["msisdn"] = msisdn
        if pace_seconds is not None:
            _check_pace(pace_seconds)
            fields["pace_seconds"] = repr(pace_seconds)
        if quota is not None:
            _check_quota(quota)
            fields["quota"] = msgspec.json.encode(quota).decode()
        if fields:
            if known.enrolled and not fields.keys().isdisjoint(("carrier", "account", "shared")):
                await self._list_under(imsi, known.carrier if carrier is None else carrier, account, shared)
            batch = self._store.batch()
            self._store.seeds.change(batch, imsi, fields, self._clock.now())
            await batch.run()
            _log.info("seed.changed", seed=imsi, fields=sorted(fields))
        return await self.get(imsi)


    async def close_breaker(self, imsi: str) -> Seed:
        """Its failures in a row are forgotten: it is given messages at once, and not first a single one. Raises `NotFound`."""
        await self.get(imsi)
        batch = self._store.batch()
        self._store.seeds.change(batch, imsi, {"consecutive_failures": "0"}, self._clock.now())
        await batch.run()
        _log.info("seed.breaker_closed", seed=imsi, by="operator")
        return await self.get(imsi)

    async def holds(self, imsi: str, limit: int) -> list[Held]:
        """What waits for it and what it has, oldest first, `limit` of each at the most."""
        batch = self._store.batch()
        self._store.seeds.slips(batch, imsi, limit)
        waiting, fetched = await batch.run()
        found = [
            Held(Slip.parse(answer[i]), float(answer[i + 1]), is_fetched)
            for answer, is_fetched in ((fetched, True), (waiting, False))
            for i in range(0, len(answer), 2)
        ]
        return sorted(found, key=lambda held: held.since)


def check_name(field: str, value: str) -> None:
    """IMSI, MSISDN and seed type: 1 to 64 of `[A-Za-z0-9_+.-]`. Raises `Invalid`."""
    if not is_name(value):
        raise Invalid(field, "1 to 64 of A-Z a-z 0-9 _ + . -")


def is_name(value: str) -> bool:
    """Could it be the name of a seed?"""
    return _NAME_SHAPE.fullmatch(value) is not None


def _check_carrier(carrier: str) -> str:
    if not is_carrier(carrier):
        raise Invalid("carrier", "5 or 6 digits, MCC+MNC, e.g. 60301")
    return canonical_carrier(carrier)


def _check_owner(account: str, *, shared: bool) -> None:
    if account and not is_name(account):
        raise Invalid("account", "not an account's id")
    if not shared and not account:
        raise Invalid("shared", "a seed that serves one account only needs that account")


def _check_pace(pace_seconds: float) -> None:
    if not 0 <= pace_seconds <= 3600:
        raise Invalid("pace_seconds", "0 to 3600; 0 = the router's setting")


def _check_quota(quota: Quota | None) -> None:
    for name in ("half_hour", "hour", "day", "recipients"):
        limit = getattr(quota, name, None)
        if limit is not None and not 0 <= limit <= 1_000_000:
            raise Invalid(f"quota.{name}", "0 to 1000000; 0 = no limit")
