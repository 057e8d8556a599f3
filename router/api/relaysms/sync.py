"""RelaySMS's synchronisation: where its socket is, the socket, and what the app posts.

What the guide leaves open is decided here so:

- Asking for a session (`GET`) promises nothing, and is the same for everybody: who has no account learns it at the handshake.
- `{v}` is any `v` and digits, and the URLs that follow carry the same one. `?format=json` at the first is carried on to the socket.
- A public key that is none, or not RSA of 2048 to 8192 bits, has the text that an unknown session has, and pauses nothing.
- A handshake that comes again with the same key is answered again; with another key it is refused: one client has the session.
- After five wrong passwords 429 with `Retry-After` is told, right ones included; 401 would send people to look for a typing mistake.
- `user_platforms` is empty: platforms are accounts at other services, which a publisher keeps, and this router is none.
- A second socket is closed with 1000, as upstream's library does where nobody says more; one too many with 1013 (try again later).
"""

import asyncio
import contextlib
import json
from typing import Any

import msgspec
import structlog
from litestar import Request, Response, Router, WebSocket, get, post, route, websocket
from litestar.exceptions import WebSocketDisconnect

from router.api.base_url import base_url
from router.api.parts import Parts, parts_of
from router.api.relaysms.cors import PREFLIGHT, PUBLIC
from router.api.relaysms.errors import TEXT, error_response
from router.domain.errors import Invalid, NotFound, Unauthorized, Unavailable
from router.domain.sync import FrameFormat, frame, is_session, is_user, is_version, new_session, session_path, sync_url
from router.services.sync_keys import NoPublicKey, Undecryptable, mask_of
from router.services.sync_sockets import AlreadyConnected, SyncSocket

_log = structlog.get_logger()
_VERSIONS = ("/{version:str}", "/v3")
"""`/v3` by name too: the framework does not look among the others where a path of that name is known, and gateway clients have one."""
_TRY_AGAIN_LATER = 1013
_SERVICE_RESTART = 1012
_POLICY_VIOLATION = 1008


class Handshake(msgspec.Struct, frozen=True):
    """What a client hears that has taken a session on."""

    public_key: str
    verification_url: str


class Synchronised(msgspec.Struct, frozen=True):
    """What a client hears that has proven its password."""

    shared_key: str
    user_platforms: list[str]
    seeds_url: str


class _Refused(Exception):
    """400 with this text."""


def _refusal(text: str) -> "Response[Any]":
    return Response(text, status_code=400, media_type=TEXT)


def _paths(rest: str) -> list[str]:
    return [version + rest for version in _VERSIONS]


def _version(connection: "Request[Any, Any, Any] | WebSocket[Any, Any, Any]") -> str:
    """Raises `NotFound`: another first part of a path is none of ours."""
    version = str(connection.scope["path"]).split("/", 2)[1]
    if not is_version(version):
        raise NotFound("Not found")
    return version


def _format(connection: "Request[Any, Any, Any] | WebSocket[Any, Any, Any]", usual: FrameFormat) -> FrameFormat:
    match connection.query_params.get("format"):
        case "json":
            return "json"
        case "url":
            return "url"
        case _:
            return usual


def _no_words(request: "Request[Any, Any, Any]", error: Exception) -> "Response[str]":
    """The guide: 500, and the body is empty."""
    response = error_response(request, error)
    if response.status_code == 500:
        response.content = ""
    response.headers.update(PUBLIC)
    return response


@get(_paths("/sync/users/{user_id:str}"), exception_handlers={Exception: _no_words})
async def ask_for_session(request: "Request[Any, Any, Any]", user_id: str) -> "Response[str]":
    """The URL of a socket with a new session, as text."""
    version, settings = _version(request), parts_of(request).settings
    if not is_user(user_id):
        raise Invalid("user_id", "1 to 64 of A-Z a-z 0-9 _ . @ -")
    url = sync_url(base_url(request, settings), version, user_id, new_session())
    asked = request.query_params.get("format")
    return Response(f"{url}?format={asked}" if asked in ("json", "url") else url, media_type=TEXT, headers=PUBLIC)


@route(_paths("/sync/users/{user_id:str}"), http_method="OPTIONS", status_code=204, include_in_schema=False)
async def preflight(request: "Request[Any, Any, Any]", user_id: str) -> "Response[None]":
    """A web page may ask first."""
    _version(request)
    return Response(None, headers=PREFLIGHT)


@post(_paths("/sync/users/{user_id:str}/sessions/{session_id:str}/handshake"), status_code=200)
async def handshake(request: "Request[Any, Any, Any]", user_id: str, session_id: str) -> "Response[Handshake | str]":
    """Takes the session on that a socket shows now; the socket hears `201- pause`."""
    version, sync = _version(request), parts_of(request).sync
    try:
        public_key = _field(await _object(request), "public_key", "missing public key")
        await sync.handshake(user_id, session_id, public_key)
    except _Refused as refused:
        return _refusal(str(refused))
    except (NoPublicKey, NotFound):
        return _refusal("failed to update user's public key")
    return Response(Handshake(sync.public_pem, session_path(version, user_id, session_id)))


@post(_paths("/sync/users/{user_id:str}/sessions/{session_id:str}"), status_code=200)
async def authenticate(request: "Request[Any, Any, Any]", user_id: str, session_id: str) -> "Response[Synchronised | str]":
    """Proves the password; the socket hears `200- ack` and is closed."""
    _version(request)
    parts = parts_of(request)
    try:
        body = await _object(request)
        password = _field(body, "password", "missing password")
        mask = mask_of(_field(body, "mgf1", "") if body.get("mgf1") else "sha1")
        if mask is None:
            raise _Refused("unknown mgf1")
        shared_key = await parts.sync.authenticate(user_id, session_id, password, mask)
    except _Refused as refused:
        return _refusal(str(refused))
    except Undecryptable:
        return _refusal("undecryptable password")
    except NotFound:
        return _refusal("invalid session requested")
    except Unauthorized:
        return Response("failed to authenticate", status_code=401, media_type=TEXT)
    return Response(Synchronised(shared_key, [], f"{base_url(request, parts.settings)}/seeds"))


async def _object(request: "Request[Any, Any, Any]") -> dict[str, Any]:
    """The body. Apps put PEMs and base64 into it with their line breaks as they are, which JSON forbids: hence not our usual reader."""
    try:
        body = json.loads(await request.body(), strict=False)
    except (ValueError, RecursionError):
        raise _Refused("poorly formed json") from None
    if not isinstance(body, dict):
        raise _Refused("poorly formed json")
    return body


def _field(body: dict[str, Any], name: str, if_missing: str) -> str:
    """Nothing in it is as if it was missing. What is no text can be no key and no password, but is `str` for whoever tries it."""
    value = body.get(name)
    if value is None or value == "":
        raise _Refused(if_missing)
    return value if isinstance(value, str) else str(value)


@websocket(_paths("/sync/init/{user_id:str}/{session_id:str}"))
async def init(socket: "WebSocket[Any, Any, Any]", user_id: str, session_id: str) -> None:
    """Says the frames, `201- pause` and `200- ack`, as they come; closes when there is no more to say."""
    if not is_version(str(socket.scope["path"]).split("/", 2)[1]) or not is_user(user_id) or not is_session(session_id):
        await socket.close(_POLICY_VIOLATION, "no such socket")
        return
    parts = parts_of(socket)
    await socket.accept()
    try:
        async with parts.sync_sockets.open(user_id, session_id) as opened:
            left = asyncio.create_task(_leave(socket, opened))
            try:
                await _talk(socket, opened, parts)
            finally:
                left.cancel()
        code, reason = (_SERVICE_RESTART, "stopping") if parts.closing.is_set() else (1000, "")
    except AlreadyConnected as error:
        code, reason = 1000, str(error)
    except Unavailable as error:
        _log.warning("sync.refused", error=str(error))
        code, reason = _TRY_AGAIN_LATER, "try again later"
    await _close(socket, code, reason)


async def _talk(socket: "WebSocket[Any, Any, Any]", opened: SyncSocket, parts: Parts) -> None:
    base, format = base_url(socket, parts.settings), _format(socket, parts.settings.sync_format)
    version, user = _version(socket), opened.claim.user
    async with contextlib.aclosing(opened.talk(lambda session: frame(base, version, user, session, format))) as talk:
        async for said in talk:
            try:
                await socket.send_text(said)
            except (WebSocketDisconnect, OSError):
                return


async def _leave(socket: "WebSocket[Any, Any, Any]", opened: SyncSocket) -> None:
    """Returns when the client has gone, and wakes the socket to see it. What clients say here is nothing."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
    opened.is_left = True
    opened.wake.set()


async def _close(socket: "WebSocket[Any, Any, Any]", code: int, reason: str) -> None:
    """Nothing is closed twice, nor where nobody is left."""
    if socket.connection_state == "disconnect":
        return
    try:
        await socket.close(code, reason)
    except (WebSocketDisconnect, OSError, RuntimeError):
        # It left as we closed
        _log.debug("sync.left_at_the_close")


# First who asks first: with one of the others there already, the framework answers OPTIONS itself
router = Router("/", route_handlers=[preflight, ask_for_session, handshake, authenticate, init], tags=["RelaySMS"])
