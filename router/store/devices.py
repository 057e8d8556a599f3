"""Phones of SMSGate's app at rest. Their SIMs' seeds are in `store/seeds.py`.

- `device:{<id>}` hash: account, name, shared, token_hash, push_token, sims and gone (JSON), created_at, updated_at, clock (`low high at`).
- `acct:{<id>}:devices` sorted set device → when it was last heard of · `devices` sorted set device → created at.
- `device-token:{<sha256>}` → `<account> <device>`. The token's hash stands in the record too, and that is what counts.
"""

from collections.abc import Mapping, Sequence

import msgspec

from router.domain.device import Device, Sim
from router.domain.phone_clock import Bounds
from router.store.redis import Batch, Script, text
from router.store.seeds import Seeds

_ADD = Script("device_add")
_CHANGE = Script("device_change")
_SIM = Script("device_sim")
_SIM_GONE = Script("device_sim_gone")

_FIELDS = ("account", "name", "shared", "token_hash", "push_token", "sims", "gone", "created_at", "updated_at", "clock")
_sims = msgspec.json.Decoder(tuple[Sim, ...])


class SimKept(msgspec.Struct, frozen=True):
    """A SIM's seed after its phone has told of it."""

    carrier_before: str
    carrier: str
    lps: float
    enrolled: bool
    account: str
    shared: bool
    """As an operator may have changed it since."""


class Devices:
    """Every method adds to a batch, or runs an empty one where it says so."""

    @staticmethod
    def key(device_id: str) -> str:
        return f"device:{{{device_id}}}"

    @staticmethod
    def _of_account(account_id: str) -> str:
        return f"acct:{{{account_id}}}:devices"

    @staticmethod
    def _token(token_hash: str) -> str:
        return f"device-token:{{{token_hash}}}"

    # Writing

    @staticmethod
    def add(batch: Batch, account_id: str, device_id: str, now: float, most: int) -> int:
        """Lists it under its account; the answer at this place is 0 where the account has `most` already."""
        return batch.call(_ADD, (Devices._of_account(account_id),), device_id, repr(now), most)

    @staticmethod
    def put(batch: Batch, device: Device) -> None:
        """The record of a new one."""
        fields = {
            "account": device.account, "name": device.name, "shared": str(int(device.shared)), "token_hash": device.token_hash,
            "created_at": repr(device.created_at),
        }  # fmt: skip
        batch.add("HSET", Devices.key(device.id), *_flat(fields | _changing(device)))
        batch.add("ZADD", "devices", repr(device.created_at), device.id)

    @staticmethod
    def change(batch: Batch, device: Device) -> int:
        """What a phone may change of itself: push token and SIMs. The answer at this place is 0 where it was deleted meanwhile."""
        return batch.call(_CHANGE, (Devices.key(device.id),), *_flat(_changing(device)))

    @staticmethod
    def set_clock(batch: Batch, device_id: str, bounds: Bounds) -> int:
        """What its reports say of its clock; the answer at this place is 0 where there is no such phone."""
        return batch.call(_CHANGE, (Devices.key(device_id),), "clock", f"{bounds.low!r} {bounds.high!r} {bounds.at!r}")

    @staticmethod
    def seen(batch: Batch, device: Device, now: float) -> None:
        """It was heard of."""
        batch.add("ZADD", Devices._of_account(device.account), "XX", repr(now), device.id)

    @staticmethod
    def set_token(batch: Batch, device: Device) -> None:
        """From now on its token is found."""
        batch.add("SET", Devices._token(device.token_hash), f"{device.account} {device.id}")

    @staticmethod
    def void_token(batch: Batch, device: Device) -> None:
        batch.add("DEL", Devices._token(device.token_hash))

    @staticmethod
    def remove(batch: Batch, device: Device) -> None:
        """The record and the lists."""
        batch.add("DEL", Devices.key(device.id))
        batch.add("ZREM", Devices._of_account(device.account), device.id)
        batch.add("ZREM", "devices", device.id)

    # SIMs

    @staticmethod
    def put_sim(batch: Batch, seed_id: str, *, is_another: bool, kind: str, msisdn: str, carrier: str, country: str) -> int:
        """What the phone tells of a SIM; hand the answer at this place to `parse_sim`."""
        keys = (Seeds.key(seed_id), f"quota:{{{seed_id}}}", f"recipients:{{{seed_id}}}")
        return batch.call(_SIM, keys, "1" if is_another else "0", kind, msisdn, carrier, country)

    @staticmethod
    def parse_sim(answer: list[bytes]) -> SimKept:
        before, carrier, lps, enrolled, account, shared = map(text, answer)
        return SimKept(before, carrier, float(lps or 0), enrolled == "1", account, shared != "0")

    @staticmethod
    def sim_gone(batch: Batch, seed_id: str) -> int:
        """A SIM that is no longer in its phone; the answer at this place is 1 where this disabled its seed."""
        return batch.call(_SIM_GONE, (Seeds.key(seed_id),))

    # Reading

    @staticmethod
    def owner_of_token(batch: Batch, token_hash: str) -> int:
        """Adds a look-up; hand the answer at this place to `parse_owner`."""
        return batch.add("GET", Devices._token(token_hash))

    @staticmethod
    def parse_owner(answer: bytes | None) -> tuple[str, str] | None:
        """Account and device of a token."""
        account, _, device = text(answer).partition(" ")
        return (account, device) if device else None

    @staticmethod
    async def load(batch: Batch, owners: Sequence[tuple[str, str]]) -> list[Device]:
        """Those of these (account, device) that there are. Runs the (empty) batch."""
        for account_id, device_id in owners:
            batch.add("HMGET", Devices.key(device_id), *_FIELDS)
            batch.add("ZSCORE", Devices._of_account(account_id), device_id)
        answers = await batch.run()
        found = [_parse(*owner, *answer) for owner, *answer in zip(owners, answers[::2], answers[1::2], strict=True)]
        return [device for device in found if device is not None]

    @staticmethod
    async def owners(batch: Batch, device_ids: Sequence[str]) -> list[tuple[str, str]]:
        """(account, device) of those that there are. Runs the (empty) batch."""
        for device_id in device_ids:
            batch.add("HGET", Devices.key(device_id), "account")
        found = zip(map(text, await batch.run()), device_ids, strict=True)
        return [(account_id, device_id) for account_id, device_id in found if account_id]

    @staticmethod
    async def ids_of(batch: Batch, account_id: str) -> list[str]:
        """The account's phones. Runs the (empty) batch."""
        batch.add("ZRANGE", Devices._of_account(account_id), 0, -1)
        return [text(device_id) for device_id in (await batch.run())[0]]

    @staticmethod
    async def all_ids(batch: Batch) -> list[str]:
        """Every phone, oldest first. Runs the (empty) batch."""
        batch.add("ZRANGE", "devices", 0, -1)
        return [text(device_id) for device_id in (await batch.run())[0]]


def _changing(device: Device) -> dict[str, str]:
    sims, gone = (msgspec.json.encode(cards).decode() for cards in (device.sims, device.gone))
    return {"push_token": device.push_token, "sims": sims, "gone": gone, "updated_at": repr(device.updated_at)}


def _flat(fields: Mapping[str, str]) -> list[str]:
    return [item for pair in fields.items() for item in pair]


def _parse(account_id: str, device_id: str, answer: list[bytes | None], seen: bytes | None) -> Device | None:
    fields = dict(zip(_FIELDS, map(text, answer), strict=True))
    if fields["account"] != account_id:
        return None
    low, high, at = map(float, fields["clock"].split()) if fields["clock"] else msgspec.structs.astuple(Bounds())
    return Device(
        id=device_id,
        account=account_id,
        name=fields["name"],
        shared=fields["shared"] == "1",
        token_hash=fields["token_hash"],
        push_token=fields["push_token"],
        sims=_sims.decode(fields["sims"]),
        gone=_sims.decode(fields["gone"]),
        created_at=float(fields["created_at"]),
        updated_at=float(fields["updated_at"]),
        last_seen=float(seen or 0.0),
        clock=Bounds(low, high, at),
    )
