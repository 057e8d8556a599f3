"""Accounts at rest.

- `acct:{<id>}` hash: name, rev, created_at, balance (minor units), enabled, otp_enabled, price, limits (JSON), ambiguous_policy, login,
  password_hash, password_rev · `…:keys` hash key hash → its label (JSON) · `…:templates` hash key → template (JSON) · and what
  account_admit.lua lists.
- `key:{<sha256>}` → account id · `login:{<login>}` → account id · `accounts` sorted set id → created at.

`rev` grows with each change that admission depends on. Processes keep accounts in memory; admission compares the revision in the same
script that charges, so a stale copy is found out at no extra cost.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from router.domain.account import Account, Limits
from router.domain.message import Message
from router.domain.templates import Template
from router.store.listings import Listings, by_account, by_submission
from router.store.redis import Batch, Script, text

_ADMIT = Script("account_admit")
_UNDO = Script("account_undo")
_SETTLE = Script("account_settle")
_TOPUP = Script("account_topup")
_PASSWORD = Script("account_password")

_HOUR, _DAY = 3600, 86400


def hash_key(key: str) -> str:
    """How API keys and tokens are kept: they are long and random, so a plain hash is enough."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class ApiKey(msgspec.Struct, frozen=True):
    """An API key as it is listed: never the key itself."""

    id: str
    """The first 12 digits of its hash."""
    label: str
    created_at: float
    hint: str
    """Its last four characters."""


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """What account_admit.lua is asked."""

    account: Account
    message_id: str
    to: str
    now: float
    limits: tuple[int, int, int]
    """Day, hour, phone and hour; 0 = none."""
    served: bool
    """Can a seed serve it?"""
    is_code: bool
    price: int
    idempotency_key: str = ""
    body_print: str = ""


class Admitted(msgspec.Struct, frozen=True):
    """How it answered. `id` is the phone's older code for `ok`, the first message (or submission) for `replay`. `taken`: so is the id."""

    outcome: Literal["ok", "changed", "replay", "mismatch", "taken", "day", "hour", "phone", "balance", "unserved"]
    id: str = ""
    wait_seconds: int = 0


class Unconfirmed(msgspec.Struct, frozen=True):
    """An admission whose record was not seen yet."""

    account: str
    message_id: str
    admitted_at: float


class Accounts:
    """Every method adds to a batch, or runs an empty one where it says so."""

    def __init__(self, idempotency_seconds: int, listings: Listings) -> None:
        self._idempotency_seconds = idempotency_seconds
        self._listings = listings

    @staticmethod
    def key(account_id: str, part: str = "") -> str:
        return f"acct:{{{account_id}}}{':' + part if part else ''}"

    # Admission and money

    @staticmethod
    def admission_keys(account_id: str, admitted_at: float) -> tuple[str, ...]:
        """What every admission touches, whatever is admitted: the first keys of its script."""
        key = Accounts.key
        return (
            key(account_id),
            key(account_id, "charges"),
            key(account_id, "unconfirmed"),
            by_account(account_id),
            key(account_id, f"day:{int(admitted_at // _DAY)}"),
            key(account_id, f"hour:{int(admitted_at // _HOUR)}"),
        )

    @staticmethod
    def idempotency_key(account_id: str, key: str) -> str:
        """Where an idempotency key is remembered; a key that nothing is at, where there is none."""
        return Accounts.key(account_id, f"idem:{hash_key(key) if key else ''}")

    @staticmethod
    def made_with(batch: Batch, account_id: str, key: str) -> int:
        """Adds a look at what the request with that idempotency key made; the answer at this place is an id, or None."""
        return batch.add("HGET", Accounts.idempotency_key(account_id, key), "id")

    def _admission_keys(self, account_id: str, to: str, admitted_at: float, idempotency_key: str) -> tuple[str, ...]:
        phone = self.key(account_id, f"phone:{to}")
        return (*self.admission_keys(account_id, admitted_at), phone, self.idempotency_key(account_id, idempotency_key))

    def admit(self, batch: Batch, ask: Admission) -> int:
        """Adds the charge and all counts; hand the answer at this place to `parse_admitted`."""
        keys = self._admission_keys(ask.account.id, ask.to, ask.now, ask.idempotency_key)
        return batch.call(
            _ADMIT, keys, ask.account.rev, repr(ask.now), ask.message_id, ask.price, ask.to, *ask.limits, int(ask.served),
            int(ask.is_code), ask.body_print if ask.idempotency_key else "", self._idempotency_seconds,
            self._listings.since_ms(ask.now), ask.idempotency_key,
        )  # fmt: skip

    @staticmethod
    def parse_admitted(answer: list[Any]) -> Admitted:
        outcome = text(answer[0])
        if outcome in ("ok", "replay"):
            return Admitted(outcome, id=text(answer[1]) if len(answer) > 1 else "")  # type: ignore[arg-type]
        return Admitted(outcome, wait_seconds=int(answer[1]) if len(answer) > 1 else 0)  # type: ignore[arg-type]

    def undo(
        self, batch: Batch, account_id: str, message_id: str, charge: bytes | str, admitted_at: float, *, is_refunded: bool = False
    ) -> int:
        """Undoes an admission. `charge` is the message's entry in `…:charges`.

        Once, by that entry; where the charge was given back already (`is_refunded`), once is the caller's business.
        """
        entry = charge.decode() if isinstance(charge, bytes) else charge
        _, to, accepted_as = entry.split("|", 2)
        submission, _, idempotency_key = accepted_as[1:].partition("\0") if accepted_as.startswith("\0") else ("", "", accepted_as)
        keys = self._admission_keys(account_id, to, admitted_at, idempotency_key)
        if submission:
            keys += (self.key(account_id, f"sub:{submission}"), by_submission(account_id))
        return batch.call(_UNDO, keys, message_id, "1" if idempotency_key else "0", "1" if is_refunded else "0", submission)

    @staticmethod
    def charge_entry(ask: Admission) -> str:
        """The entry that an admission leaves in `…:charges`, for `undo`."""
        return f"{ask.price}|{ask.to}|{ask.idempotency_key}"

    def settle(self, batch: Batch, message: Message, *, refund: bool) -> int:
        """Keeps or gives back the charge, once; the answer at this place is what was given back."""
        key = self.key
        keys = (key(message.account), key(message.account, "charges"), key(message.account, "unconfirmed"))
        return batch.call(_SETTLE, keys, message.id, "1" if refund else "0")

    @staticmethod
    def topup(batch: Batch, account_id: str, amount: int) -> int:
        """Adds to the wallet; the answer is the balance, -1 where it would fall below zero, -2 where there is no account."""
        return batch.call(_TOPUP, (Accounts.key(account_id),), amount)

    @staticmethod
    def balance(batch: Batch, account_id: str) -> int:
        """Adds a read of the wallet, in minor units."""
        return batch.add("HGET", Accounts.key(account_id), "balance")

    @staticmethod
    def admitted(batch: Batch, account_id: str, now: float) -> tuple[int, int]:
        """Adds reads of how many messages were admitted this UTC day and this hour; the answers at these places may be None."""
        *_, day, hour = Accounts.admission_keys(account_id, now)
        return batch.add("GET", day), batch.add("GET", hour)

    @staticmethod
    def confirm(batch: Batch, account_id: str, *message_ids: str) -> None:
        """Their records were seen: the admissions need no more watching."""
        batch.add("ZREM", Accounts.key(account_id, "unconfirmed"), *message_ids)

    @staticmethod
    async def unconfirmed(batch: Batch, account_ids: list[str], before: float, limit: int) -> list[Unconfirmed]:
        """Admissions older than `before` whose record was not seen yet. Runs the (empty) batch."""
        for account_id in account_ids:
            key = Accounts.key(account_id, "unconfirmed")
            batch.add("ZRANGEBYSCORE", key, "-inf", repr(before), "WITHSCORES", "LIMIT", 0, limit)
        found: list[Unconfirmed] = []
        for account_id, flat in zip(account_ids, await batch.run(), strict=True):
            found += [Unconfirmed(account_id, text(flat[i]), float(flat[i + 1])) for i in range(0, len(flat), 2)]
        return found

    @staticmethod
    def charge(batch: Batch, account_id: str, message_id: str) -> int:
        """Adds a read of a message's entry in `…:charges`, for `undo`."""
        return batch.add("HGET", Accounts.key(account_id, "charges"), message_id)

    # Reading and changing

    @staticmethod
    async def load(batch: Batch, account_id: str) -> Account | None:
        """Runs the (empty) batch."""
        batch.add("HGETALL", Accounts.key(account_id))
        batch.add("HKEYS", Accounts.key(account_id, "keys"))
        batch.add("HGETALL", Accounts.key(account_id, "templates"))
        raw, key_hashes, templates = await batch.run()
        record = {text(name): text(value) for name, value in _pairs(raw).items()}
        if not record:
            return None
        return Account(
            id=account_id,
            name=record["name"],
            rev=int(record["rev"]),
            created_at=float(record["created_at"]),
            enabled=record.get("enabled", "1") == "1",
            otp_enabled=record.get("otp_enabled", "1") == "1",
            price=int(record.get("price", "0")),
            limits=msgspec.json.decode(record.get("limits", "{}"), type=Limits),
            countries=frozenset(filter(None, record.get("countries", "").split(","))),
            ambiguous_policy=msgspec.convert(record.get("ambiguous_policy", "wait"), Literal["wait", "resend", "fail"]),
            login=record.get("login", ""),
            password_rev=int(record.get("password_rev", "0")),
            key_hashes=frozenset(text(value) for value in key_hashes),
            templates={text(k): msgspec.json.decode(v, type=Template) for k, v in _pairs(templates).items()},
        )

    @staticmethod
    def name(batch: Batch, account_id: str) -> int:
        """The answer at this place is its name, or None."""
        return batch.add("HGET", Accounts.key(account_id), "name")

    @staticmethod
    def owner_of_key(batch: Batch, key_hash: str) -> int:
        """Adds a look-up of an API key; the answer at this place is the account's id, or None."""
        return batch.add("GET", f"key:{{{key_hash}}}")

    @staticmethod
    def create(batch: Batch, account: Account, balance: int, password_hash: str) -> None:
        fields = {
            "name": account.name, "rev": str(account.rev), "created_at": repr(account.created_at), "balance": str(balance),
            "enabled": str(int(account.enabled)), "otp_enabled": str(int(account.otp_enabled)), "price": str(account.price),
            "limits": msgspec.json.encode(account.limits).decode(), "ambiguous_policy": account.ambiguous_policy,
            "countries": ",".join(sorted(account.countries)), "login": account.login, "password_hash": password_hash,
        }  # fmt: skip
        batch.add("HSET", Accounts.key(account.id), *[item for pair in fields.items() for item in pair])
        batch.add("ZADD", "accounts", repr(account.created_at), account.id)

    @staticmethod
    def change(batch: Batch, account_id: str, fields: Mapping[str, str]) -> None:
        """Sets fields of an account that exists, and its revision on."""
        if fields:
            batch.add("HSET", Accounts.key(account_id), *[item for pair in fields.items() for item in pair])
        batch.add("HINCRBY", Accounts.key(account_id), "rev", 1)

    @staticmethod
    def add_key(batch: Batch, account_id: str, key_hash: str, key: ApiKey) -> None:
        """The owner first: a key that stands in the account but leads nowhere is harmless, and the other way round too."""
        batch.add("SET", f"key:{{{key_hash}}}", account_id)
        batch.add("HSET", Accounts.key(account_id, "keys"), key_hash, msgspec.json.encode(key))
        batch.add("HINCRBY", Accounts.key(account_id), "rev", 1)

    @staticmethod
    def remove_key(batch: Batch, account_id: str, key_hash: str) -> None:
        batch.add("HDEL", Accounts.key(account_id, "keys"), key_hash)
        batch.add("HINCRBY", Accounts.key(account_id), "rev", 1)
        batch.add("DEL", f"key:{{{key_hash}}}")

    @staticmethod
    async def keys(batch: Batch, account_id: str) -> dict[str, ApiKey]:
        """Key hash → key. Runs the (empty) batch."""
        batch.add("HGETALL", Accounts.key(account_id, "keys"))
        raw = _pairs((await batch.run())[0])
        return {text(key_hash): msgspec.json.decode(label, type=ApiKey) for key_hash, label in raw.items()}

    @staticmethod
    def claim_login(batch: Batch, login: str, account_id: str) -> int:
        """The answer at this place is truthy where the login was free."""
        return batch.add("SET", f"login:{{{login}}}", account_id, "NX")

    @staticmethod
    def owner_of_login(batch: Batch, login: str) -> int:
        """Adds a look-up of a login; the answer at this place is the account's id, or None."""
        return batch.add("GET", f"login:{{{login}}}")

    @staticmethod
    def password(batch: Batch, account_id: str) -> int:
        """Adds a read of the password's hash and revision, which belong together; hand the answer at this place to `parse_password`."""
        return batch.add("HMGET", Accounts.key(account_id), "password_hash", "password_rev")

    @staticmethod
    def parse_password(answer: list[Any]) -> tuple[str, int]:
        """The hash, empty where there is no password, and the revision."""
        return text(answer[0]), int(answer[1] or 0)

    @staticmethod
    def set_password(batch: Batch, account_id: str, password_rev: int, password_hash: str, login: str = "") -> int:
        """The answer at this place is the new revision, 0 where `password_rev` is not the one that stands, -1 where there is no account."""
        return batch.call(_PASSWORD, (Accounts.key(account_id),), password_rev, password_hash, login)

    @staticmethod
    def set_templates(batch: Batch, account_id: str, templates: list[Template]) -> None:
        for template in templates:
            batch.add("HSET", Accounts.key(account_id, "templates"), template.key, msgspec.json.encode(template))
        batch.add("HINCRBY", Accounts.key(account_id), "rev", 1)

    @staticmethod
    def remove_template(batch: Batch, account_id: str, key: str) -> None:
        batch.add("HDEL", Accounts.key(account_id, "templates"), key)
        batch.add("HINCRBY", Accounts.key(account_id), "rev", 1)

    @staticmethod
    async def all_ids(batch: Batch) -> list[str]:
        """Every account, oldest first. Runs the (empty) batch."""
        batch.add("ZRANGE", "accounts", 0, -1)
        return [text(account_id) for account_id in (await batch.run())[0]]

    @staticmethod
    async def message_ids(batch: Batch, account_id: str, limit: int) -> list[str]:
        """An account's newest messages, latest first. Runs the (empty) batch."""
        batch.add("XREVRANGE", by_account(account_id), "+", "-", "COUNT", limit)
        return [text(fields[1]) for _, fields in (await batch.run())[0]]


def _pairs(answer: Mapping[bytes, bytes] | list[bytes]) -> dict[bytes, bytes]:
    """HGETALL as a dict, whether or not the client has paired it up."""
    if isinstance(answer, Mapping):
        return dict(answer)
    return dict(zip(answer[::2], answer[1::2], strict=True))
