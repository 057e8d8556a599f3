"""Tokens of SMSGate's API, and the codes with which phones join an account, at rest.

- `acct:{<id>}:tokens` sorted set family → when its refresh token ends · `acct:{<id>}:tokens:<family>` hash gen, ttl, revoked, dead:<gen>.
- `codes:{phones}` hash code → account, `…:of` hash account → its code, `…:until` sorted set code → until when, `…:wrong` a count.
  Codes stand there as they are: six digits can be found out from any hash, and a minute later they are worth nothing.

A family is what came from one grant: generation 1, then one more with each refresh. A token itself is nowhere: it is signed, and names its
family and generation.
"""

from typing import Any, Literal

import msgspec

from router.store.accounts import Accounts
from router.store.redis import Batch, Script, text

_MINT = Script("token_mint")
_REFRESH = Script("token_refresh")
_REVOKE = Script("token_revoke")
_CODE_NEW = Script("token_code_new")
_CODE_REDEEM = Script("token_code_redeem")

_CODES = "codes:{phones}"


class Refreshed(msgspec.Struct, frozen=True):
    """How an exchange ended; with `ok`, the next generation and how long its access token lives."""

    outcome: Literal["ok", "replay", "no"]
    generation: int = 0
    ttl_seconds: int = 0


class FamilyState(msgspec.Struct, frozen=True):
    """A family as it is now. `current` is 0 where it does not exist; `dead`: the generation that was asked for was revoked."""

    current: int
    revoked: bool
    dead: bool


class TokenFamilies:
    """Every method adds to a batch."""

    @staticmethod
    def key(account_id: str, family: str = "") -> str:
        return Accounts.key(account_id, f"tokens:{family}" if family else "tokens")

    @classmethod
    def mint(
        cls, batch: Batch, account_id: str, family: str, *, now: float, refresh_seconds: int, access_seconds: int, most: int
    ) -> int:
        """Begins a family. The answer at this place is the list of those that are one too many now: `forget` them."""
        keys = (cls.key(account_id), cls.key(account_id, family))
        return batch.call(_MINT, keys, family, repr(now), refresh_seconds, access_seconds, most)

    @classmethod
    def forget(cls, batch: Batch, account_id: str, families: list[bytes]) -> None:
        """Ends families whose names are out of the account's set already. If it never happens, they end with their refresh tokens."""
        for family in families:
            batch.add("DEL", cls.key(account_id, text(family)))

    @classmethod
    def state(cls, batch: Batch, account_id: str, family: str, generation: int) -> int:
        """Adds a read; hand the answer at this place to `parse_state`."""
        return batch.add("HMGET", cls.key(account_id, family), "gen", "revoked", f"dead:{generation}")

    @staticmethod
    def parse_state(answer: list[Any]) -> FamilyState:
        current, revoked, dead = answer
        return FamilyState(int(current or 0), revoked is not None, dead is not None)

    @classmethod
    def refresh(cls, batch: Batch, account_id: str, family: str, generation: int, *, now: float, refresh_seconds: int) -> int:
        """Exchanges the refresh token of a generation, once; hand the answer at this place to `parse_refreshed`."""
        keys = (cls.key(account_id), cls.key(account_id, family))
        return batch.call(_REFRESH, keys, family, generation, repr(now), refresh_seconds)

    @staticmethod
    def parse_refreshed(answer: list[Any]) -> Refreshed:
        outcome = text(answer[0])
        return Refreshed(outcome, *(int(value) for value in answer[1:]))  # type: ignore[arg-type]

    @classmethod
    def revoke(cls, batch: Batch, account_id: str, family: str, generation: int, *, now: float, access_seconds: int) -> int:
        """Ends a generation; the answer at this place is 1, or 0 where there is none."""
        return batch.call(_REVOKE, (cls.key(account_id, family),), generation, repr(now), access_seconds)


class Redeemed(msgspec.Struct, frozen=True):
    """How a code was taken: the account with `ok`, how long to wait with `busy`."""

    outcome: Literal["ok", "wrong", "busy"]
    account: str = ""
    wait_seconds: int = 0


class PhoneCodes:
    """Every method adds to a batch."""

    _keys = (_CODES, f"{_CODES}:of", f"{_CODES}:until")

    @classmethod
    def new(cls, batch: Batch, code: str, account_id: str, *, now: float, valid_until: float) -> int:
        """The account's only code; the answer at this place is 0 where another account has the same one."""
        return batch.call(_CODE_NEW, cls._keys, code, account_id, repr(now), repr(valid_until))

    @classmethod
    def redeem(cls, batch: Batch, code: str, *, now: float, wrong_per_minute: int) -> int:
        """Uses a code up; hand the answer at this place to `parse_redeemed`."""
        return batch.call(_CODE_REDEEM, (*cls._keys, f"{_CODES}:wrong"), code, repr(now), wrong_per_minute)

    @staticmethod
    def parse_redeemed(answer: list[Any]) -> Redeemed:
        match text(answer[0]):
            case "ok":
                return Redeemed("ok", account=text(answer[1]))
            case "busy":
                return Redeemed("busy", wait_seconds=max(1, int(answer[1])))
            case _:
                return Redeemed("wrong")
