"""Enrolling a seed: a form, then its token once, as text and as a QR code for the phone."""

from typing import Any, Final

import msgspec
import segno
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Template
from markupsafe import Markup

from router.api.base_url import base_url
from router.api.console.inputs import seconds_of, whole_of
from router.api.console.pages import AnyRequest, form, page
from router.api.console.seed_forms import WINDOWS, quota_of
from router.api.parts import parts_of
from router.domain.carriers import carrier_name
from router.domain.errors import Conflict, Invalid, NotFound
from router.services.enrolment import ToEnrol

_FIELDS: Final = (
    "imsi", "msisdn", "carrier", "pace_seconds", "account", "subscription_id", "calling_code", "project", *WINDOWS,
)  # fmt: skip


class Handover(msgspec.Struct, frozen=True):
    """What a phone's program needs to serve a seed, as its QR code says it: JSON (docs/console.md)."""

    url: str
    imsi: str
    token: str


@get("/seeds/enrol")
async def ask_to_enrol(request: AnyRequest, imsi: str = "") -> Template:
    """The form."""
    return _form(request, {"imsi": imsi[:64], "shared": "on"})


def _form(request: AnyRequest, values: dict[str, str], fault: str = "", status: int = 200, *, is_known: bool = False) -> Template:
    return page(
        request, "enrol.html", title="Enrol a seed", section="seeds", status=status, fault=fault, is_known=is_known,
        values=dict.fromkeys((*_FIELDS, "shared", "protocol"), "") | values,
    )  # fmt: skip


@post("/seeds/enrol", status_code=200)
async def enrol(request: AnyRequest) -> Template:
    """Enrols it. The answer shows the token itself, and is no redirect: the token stands in no address, no cookie and no store."""
    parts, fields = parts_of(request), await form(request)
    try:
        asked = _asked(fields)
        known = await _known(request, asked.imsi)
        if known and fields.get("again") != "on":
            return _form(request, fields, is_known=True)
        seed, token = await parts.enrolment.enrol(asked)
    except (Invalid, NotFound, Conflict) as error:
        return _form(request, fields, str(error), 422)
    parts.seed_list.forget()
    place = (await parts.enrolment.queues()).get(seed.id)
    content = msgspec.json.encode(Handover(base_url(request, parts.settings), seed.id, token)).decode()
    return page(
        request, "enrolled.html", title=f"{seed.id} is enrolled", section="seeds", seed=seed, token=token, content=content,
        code=_code(content), place=place, url=base_url(request, parts.settings), carrier_name=carrier_name(seed.carrier),
    )  # fmt: skip


async def _known(request: AnyRequest, imsi: str) -> bool:
    """Is it enrolled already? Raises `Conflict` for a SIM of a phone that has a token of its own."""
    try:
        seed = await parts_of(request).seeds.get(imsi)
    except NotFound:
        return False
    if seed.device:
        raise Conflict("this is a SIM of a phone that runs SMSGate’s app: the phone itself has a token, and its SIMs need none")
    return seed.enrolled


def _asked(fields: dict[str, str]) -> ToEnrol:
    at_rabbitmq: dict[str, Any] = {}
    if fields.get("protocol") == "amqp":
        at_rabbitmq = {
            "protocol": "amqp", "subscription_id": whole_of("subscription_id", fields.get("subscription_id", "")),
            "calling_code": fields.get("calling_code") or None, "project": fields.get("project") or None,
        }  # fmt: skip
    return ToEnrol(
        imsi=fields.get("imsi", ""), msisdn=fields.get("msisdn", ""), carrier=fields.get("carrier", ""),
        pace_seconds=seconds_of("pace_seconds", fields.get("pace_seconds", "")) or 0.0, quota=quota_of(fields),
        account=fields.get("account", ""), shared=fields.get("shared") == "on", **at_rabbitmq,
    )  # fmt: skip


def _code(content: str) -> Markup:
    """A QR code as SVG, dark on light whatever the page's colours are: cameras expect it so."""
    made = segno.make(content, error="m", micro=False)
    svg = made.svg_inline(border=4, dark="#000", light="#fff", omitsize=True, svgclass="qr", lineclass=None)
    return Markup(svg)  # noqa: S704 - made of modules, not of the content


HANDLERS: list[HTTPRouteHandler] = [ask_to_enrol, enrol]
