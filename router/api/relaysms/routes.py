"""RelaySMS's endpoints of seeds: pings, and the list of who is online."""

from typing import Any

import msgspec
import orjson
from litestar import Request, Response, Router, get, post, route

from router.api.parts import bearer_of, parts_of
from router.api.relaysms.cors import PREFLIGHT, PUBLIC
from router.api.relaysms.errors import TEXT
from router.domain.carriers import carrier_name
from router.domain.errors import Invalid, NotFound
from router.domain.seed import Seed
from router.services.seeds import check_name

_MISSING = (("IMSI", "missing IMSI"), ("MSISDN", "missing MSISDN"), ("seed_type", "missing seeder state"))
_SEEDER = "seeder"


class OnlineSeed(msgspec.Struct, frozen=True, omit_defaults=True):
    """A seed as clients list it; the last three fields where they are known."""

    IMSI: str
    LPS: float
    MSISDN: str
    seed_type: str
    country: str = ""
    operator_name: str = ""
    operator_id: str = ""


def _listed(seed: Seed) -> OnlineSeed:
    name = carrier_name(seed.carrier) if seed.carrier else ""
    return OnlineSeed(seed.id, seed.lps, seed.msisdn, seed.kind, seed.country, name, seed.carrier)


def _refuse(text: str) -> "Response[str]":
    return Response(text, status_code=400, media_type=TEXT)


@post("/seeds/ping", status_code=200)
async def ping(request: "Request[Any, Any, Any]") -> "Response[str]":
    """A sign of life: answers the LPS, the server's time of this ping, as decimal text.

    A ping that enrols (by the enrolment token) answers the seed's own token in the header `X-Seed-Token`, this once.
    """
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        return _refuse("poorly formed json")
    if not isinstance(body, dict):
        return _refuse("the body must be a JSON object")
    for key, text in _MISSING:
        if key not in body:
            return _refuse(text)
    for key, _ in _MISSING:
        if not isinstance(body[key], str):
            return _refuse(f"{key} must be a string")
    pinged = await parts_of(request).seeds.ping(body["IMSI"], body["MSISDN"], body["seed_type"], bearer_of(request))
    headers = {"X-Seed-Token": pinged.token} if pinged.token else {}
    return Response(repr(pinged.lps), media_type=TEXT, headers=headers)


@get("/seeds")
async def list_seeds(request: "Request[Any, Any, Any]") -> "Response[list[OnlineSeed]]":
    """The online seeds, in order of their first ping."""
    online = await parts_of(request).seeds.online()
    return Response([_listed(seed) for seed in online], headers=PUBLIC)


@get("/seeders")
async def list_seeders(request: "Request[Any, Any, Any]") -> "Response[list[OnlineSeed]]":
    """The online seeds of type `seeder`."""
    online = await parts_of(request).seeds.online()
    return Response([_listed(seed) for seed in online if seed.kind == _SEEDER], headers=PUBLIC)


@get("/seeds/{imsi:str}")
async def msisdn(request: "Request[Any, Any, Any]", imsi: str) -> "Response[str]":
    """The number of an online seed as text; empty when it is unknown or offline, which clients rely on."""
    parts = parts_of(request)
    try:
        check_name("IMSI", imsi)
        seed = await parts.seeds.get(imsi)
    except (Invalid, NotFound):
        return Response("", media_type=TEXT, headers=PUBLIC)
    online = seed.is_online(parts.clock.now(), parts.settings.rules())
    return Response(seed.msisdn if online else "", media_type=TEXT, headers=PUBLIC)


@route(["/seeds", "/seeders", "/seeds/{imsi:str}"], http_method="OPTIONS", status_code=204, include_in_schema=False)
async def preflight(imsi: str = "") -> "Response[None]":
    """A browser asks first, since the guide's GETs carry a Content-Type."""
    return Response(None, headers=PREFLIGHT)


# `preflight` first: litestar answers OPTIONS itself for a path that has no handler for it when it is met first
router = Router("/", route_handlers=[preflight, ping, list_seeds, list_seeders, msisdn], tags=["RelaySMS"])
