"""What phones of SMSGate's app receive: the app posts it to webhooks, and one of those that a phone is told of is the router's own.

Its address holds a secret of that phone alone, and what comes there is signed with the account's key, as all webhooks are. It goes on the
exchange `inbound`. The account's own webhooks are not told: they are on the phone's list, so the phone tells them itself.
"""

import hmac
import re

import msgspec

from router.clock import Clock
from router.domain.device import Device, seed_of_sim
from router.domain.errors import Invalid, NotFound, Unauthorized
from router.domain.incoming import EVENT, Incoming, Told, check_sms, identity_of
from router.domain.phone_clock import estimate
from router.domain.rules import Rules
from router.domain.webhooks import Webhook, sign
from router.services.devices import Devices
from router.services.incoming import IncomingMessages, Taken, new_id
from router.services.signing_keys import SigningKeys
from router.settings import Settings

PATH = "/mobile/v1/incoming"
_SECRET_SHAPE = re.compile(r"([A-Za-z0-9_-]{21})\.([0-9a-f]{32})", re.ASCII)
_SECRET_DIGITS = 32
_LABEL = b"incoming webhook"


class Posted(msgspec.Struct, frozen=True, rename="camel"):
    """The payload of the app's `sms:received`. `sender` came later than `phoneNumber`, and is the same."""

    message: str
    message_id: str = ""
    sender: str | None = None
    phone_number: str | None = None
    recipient: str | None = None
    sim_number: int | None = None
    received_at: str | None = None


class _Event(msgspec.Struct, frozen=True):
    event: str
    payload: msgspec.Raw = msgspec.Raw(b"{}")


class PhoneIncoming:
    """One per api process."""

    def __init__(
        self, incoming: IncomingMessages, devices: Devices, keys: SigningKeys, clock: Clock, rules: Rules, settings: Settings, key: bytes
    ) -> None:
        """`key` is one of the router's secrets: what is derived from it here says nothing of it."""
        self._incoming = incoming
        self._devices = devices
        self._keys = keys
        self._clock = clock
        self._rules = rules
        self._settings = settings
        self._key = hmac.digest(key, _LABEL, "sha256")

    async def webhook(self, device: Device) -> Webhook | None:
        """The router's own webhook for this phone; None where phones cannot reach the router by the address that it knows of itself.

        The account has a signing key from then on. Raises `Unavailable`.
        """
        base = self._settings.public_url.rstrip("/")
        if not base.startswith("https://") and not (self._settings.webhook_allow_http and base.startswith("http://")):
            return None
        await self._keys.of(device.account)
        proof = self._proof(device.id)
        return Webhook(id=f"router_{proof[:12]}", url=f"{base}{PATH}/{device.id}.{proof}", event=EVENT, device_id=device.id)

    def _proof(self, device_id: str) -> str:
        return hmac.new(self._key, device_id.encode(), "sha256").hexdigest()[:_SECRET_DIGITS]

    async def authenticate(self, secret: str, body: bytes, signature: str, timestamp: str) -> Device:
        """The phone that posted. Raises `Unauthorized`: no such address, not signed with its account's key, or long ago."""
        found = _SECRET_SHAPE.fullmatch(secret)
        if found is None or not hmac.compare_digest(self._proof(found[1]), found[2]):
            raise Unauthorized("no such webhook")
        try:
            device = await self._devices.get(found[1])
        except NotFound:
            raise Unauthorized("unknown phone") from None
        key = await self._keys.of(device.account)
        if not hmac.compare_digest(sign(key, body, timestamp).encode(), signature.lower().encode("utf-8", "replace")):
            raise Unauthorized("wrong signature")
        if not self._is_recent(device, timestamp):
            raise Unauthorized("signed long ago, or the phone's clock is wrong")
        return device

    def _is_recent(self, device: Device, timestamp: str) -> bool:
        """By our clock, or by the phone's own as far as its reports have told it."""
        if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
            return False
        now = self._clock.now()
        most = self._settings.incoming_max_age_seconds
        return any(abs(int(timestamp) - at) <= most for at in (now, now + estimate(device.clock, now, self._rules).offset))

    async def take(self, device: Device, body: bytes) -> Taken:
        """Raises `Invalid`, `Unavailable`: the app then posts it again."""
        posted = _parse(body)
        sender = posted.sender or posted.phone_number or ""
        check_sms(sender, posted.message, self._settings.max_incoming_text_length, field="sender")
        number = posted.sim_number
        known = {sim.number: sim for sim in device.sims}
        sim = known.get(number) if number is not None else None
        incoming = Incoming(
            id=new_id(), via="phone", sender=sender, text=posted.message, received_at=self._clock.now(),
            recipient=(posted.recipient or (sim.phone_number if sim else ""))[:64],
            seed=seed_of_sim(device.id, sim.number) if sim else "", device=device.id, sim=number, account=device.account,
        )  # fmt: skip
        # The app's id of an SMS is a short hash of it: with when it came, it is one SMS, also where the phone tells its inbox anew
        identity = identity_of("phone", device.id, posted.message_id, posted.received_at or "", sender, posted.message)
        return await self._incoming.take([Told(incoming, identity, self._settings.idempotency_seconds)])


def _parse(body: bytes) -> Posted:
    try:
        event = msgspec.json.decode(body, type=_Event)
        if event.event != EVENT:
            raise Invalid("event", f"only {EVENT}")
        return msgspec.json.decode(event.payload, type=Posted)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Not chained: the error's text may hold some of the SMS
        raise Invalid("body", f"not what the app posts for {EVENT}") from None
