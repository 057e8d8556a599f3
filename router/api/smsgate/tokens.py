"""Tokens: granted to who shows the password (or a token that may), refreshed, revoked."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Request, Response, delete, post
from litestar.types import ControllerRouterHandler

from router.api.parts import bearer_of, parts_of
from router.api.smsgate.auth import authenticate, caller_of, check
from router.api.smsgate.errors import Error
from router.domain.errors import Invalid
from router.domain.scopes import REFRESH
from router.services.tokens import Minted


class NewToken(msgspec.Struct, frozen=True):
    """`ttl`: seconds; 0 or absent is the longest there is, and more is taken for that."""

    scopes: list[str]
    ttl: int | str | None = None
    """A text is refused here: else litestar would take it for the number that it spells."""


class Token(msgspec.Struct, frozen=True):
    """Every field in both spellings: SMSGate's Python client reads one, all its other clients the other."""

    id: str
    token_type: str
    access_token: str
    refresh_token: str
    expires_at: str
    accessTokenCamel: str = msgspec.field(name="accessToken")  # noqa: N815
    tokenTypeCamel: str = msgspec.field(name="tokenType")  # noqa: N815
    refreshTokenCamel: str = msgspec.field(name="refreshToken")  # noqa: N815
    expiresAtCamel: str = msgspec.field(name="expiresAt")  # noqa: N815


def _token(minted: Minted) -> Token:
    expires_at = datetime.fromtimestamp(minted.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    access, refresh, kind = minted.access_token, minted.refresh_token, "Bearer"
    return Token(minted.id, kind, access, refresh, expires_at, access, kind, refresh, expires_at)


async def _offered(request: "Request[Any, Any, Any]", scope: str) -> "Response[Error] | None":
    """401, then 501 where this router gives out no tokens, then 403."""
    caller = await authenticate(request)
    if not parts_of(request).tokens.offered:
        return Response(Error("this router gives out no tokens"), status_code=501, media_type="application/json")
    check(caller, scope)
    return None


async def _manages(request: "Request[Any, Any, Any]") -> "Response[Error] | None":
    return await _offered(request, "tokens:manage")


async def _refreshes(request: "Request[Any, Any, Any]") -> "Response[Error] | None":
    return await _offered(request, REFRESH)


@post("/auth/token", status_code=201, before_request=_manages)
async def grant(request: "Request[Any, Any, Any]", data: NewToken) -> Token:
    """A new access token with these scopes, and the refresh token that goes with it."""
    caller = caller_of(request)
    if isinstance(data.ttl, str):
        raise Invalid("ttl", "not an integer")
    return _token(await parts_of(request).tokens.mint(caller.account, caller.scopes, data.scopes, data.ttl))


@post("/auth/token/refresh", status_code=201, before_request=_refreshes)
async def refresh(request: "Request[Any, Any, Any]") -> Token:
    """The next pair for a refresh token, which is void from then on; showing it again ends all that came of it."""
    return _token(await parts_of(request).tokens.refresh(bearer_of(request)))


@delete("/auth/token/{jti:str}", status_code=204, before_request=_manages)
async def revoke(request: "Request[Any, Any, Any]", jti: str) -> None:
    """Ends a token by its id, and the one that came with it."""
    await parts_of(request).tokens.revoke(caller_of(request).account, jti)


HANDLERS: list[ControllerRouterHandler] = [grant, refresh, revoke]
