"""Synchronisation: the sessions that a socket shows one after the other, and what it says when. Pure.

A web page opens a socket and shows each frame, the URL of a handshake, as a QR code; the app scans one and takes that session on. Source:
the published guide of RelaySMS's gateway server, "Synchronization".
"""

import re
import secrets
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

PAUSE: Final = "201- pause"
ACK: Final = "200- ack"
"""Clients compare these two to the letter."""

FrameFormat = Literal["url", "json"]
State = Literal["waiting", "paused", "acked", "gone", "taken"]
"""A session is waiting for its handshake, is paused from then on, and is acked when the password was right. `gone`: it was dropped, or
Redis lost it. `taken`: another socket serves the URL by now."""
Action = Literal["frame", "pause", "ack", "close", "wait"]

_USER: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_SESSION: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_VERSION: Final = re.compile(r"v[0-9]{1,4}")


class SyncRules(msgspec.Struct, frozen=True, kw_only=True):
    """The guide's three numbers (seconds), what a wrong password costs, and how many sockets a user may have open."""

    session_change_limit: int = 3
    session_sleep_timeout: float = 15.0
    session_paused_timeout: float = 120.0
    wrong_passwords: int = 5
    wrong_seconds: float = 600.0
    lock_seconds: float = 600.0
    sockets_per_user: int = 10


class Plan(msgspec.Struct, frozen=True):
    """What a socket has said so far. Times are seconds of any one clock."""

    frames: int = 0
    due: float = 0.0
    """When the sleep after the last frame ends; once paused, when the pause ends."""
    is_paused: bool = False


class JsonFrame(msgspec.Struct, frozen=True):
    """A frame as the last web front end wants it; `mobile_url` opens the app."""

    qr_url: str
    mobile_url: str


def new_session() -> str:
    """32 hex digits that nobody can guess."""
    return secrets.token_hex(16)


def is_user(text: str) -> bool:
    """Can it be an account's id or login? The guide's own example is `111`."""
    return _USER.fullmatch(text) is not None


def is_session(text: str) -> bool:
    """Ours are 32 hex digits; the guide connects to `000`."""
    return _SESSION.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Is it the version of an API, as the guide's `v2`?"""
    return _VERSION.fullmatch(text) is not None


def begun(plan: Plan, now: float, rules: SyncRules) -> Plan:
    """After a frame was said."""
    return replace(plan, frames=plan.frames + 1, due=now + rules.session_sleep_timeout)


def decide(plan: Plan, state: State, now: float, rules: SyncRules) -> tuple[Action, Plan]:
    """What a socket does next, and its plan when it has done so (`frame` is followed by `begun`); `wait` is until `plan.due`, or a change.

    1. Another socket serves the URL: close.
    2. A handshake is told once. From then on nothing rotates, and the close is a pause after the sleep that was running.
    3. An ack is told after the pause, however late either was heard of, and ends it.
    4. Else each sleep ends with a new frame, and the last one with the close. A session that Redis lost is shown no longer than that.
    """
    if state == "taken":
        return "close", plan
    if state in ("paused", "acked") and not plan.is_paused:
        return "pause", replace(plan, is_paused=True, due=plan.due + rules.session_paused_timeout)
    if state == "acked":
        return "ack", plan
    if plan.is_paused:
        return ("wait" if state == "paused" and now < plan.due else "close"), plan
    if plan.frames and now < plan.due:
        return "wait", plan
    return ("frame" if plan.frames < rules.session_change_limit else "close"), plan


def sync_url(base_url: str, version: str, user: str, session: str) -> str:
    """Where the socket is; `base_url` is `http(s)://host`, without a slash at its end."""
    return f"ws{base_url.removeprefix('http')}/{version}/sync/init/{user}/{session}"


def session_path(version: str, user: str, session: str) -> str:
    """Where the app proves the password; the handshake is one step below."""
    return f"/{version}/sync/users/{user}/sessions/{session}"


def frame(base_url: str, version: str, user: str, session: str, format: FrameFormat) -> str:
    """What the socket says of a session: the bare URL of its handshake, or `JsonFrame` as JSON."""
    url = f"{base_url}{session_path(version, user, session)}/handshake"
    if format == "url":
        return url
    return msgspec.json.encode(JsonFrame(url, f"app{url.removeprefix('http')}")).decode()
