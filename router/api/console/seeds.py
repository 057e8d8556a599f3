"""Seeds: find them, look at one, change it, and what a failing one needs."""

from typing import Any, Final
from urllib.parse import quote

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect, Template

from router.api.console import enrol
from router.api.console.addresses import is_part, whole_number, with_query
from router.api.console.hidden import hide, reveal
from router.api.console.inputs import seconds_of
from router.api.console.pages import AnyRequest, back, form, page, partial, redirect
from router.api.console.seed_forms import WINDOWS, quota_of
from router.api.parts import parts_of
from router.domain.errors import Conflict, Invalid, LimitReached, NotFound, Unavailable
from router.domain.statistics import MAX_FAILOVERS
from router.services.seed_list import SEED_SORTS, SeedQuery, SeedSort
from router.services.seed_view import SEED_STATES, SeedState

_PATH: Final = "/console/seeds"
_SHOWN: Final = 50
_MOST: Final = 10_000_000
_LATEST: Final = 10
_HELD: Final = 50
_NUMBER_DIGITS: Final = 6
_COLUMNS: Final[tuple[tuple[SeedSort, str, str], ...]] = (
    ("imsi", "Seed", ""), ("state", "State", ""), ("carrier", "Carrier", ""), ("ping", "Last ping", ""),
    ("in_flight", "In flight", "num"), ("quota", "Quotas used (parts)", ""), ("failing", "Failing", "num"), ("to_sent", "To sent", "num"),
    ("reliability", "Reliability", "num"),
)  # fmt: skip


@get("/seeds")
async def list_seeds(
    request: AnyRequest, q: str = "", find: str = "", carrier: str = "", status: str = "", sort: str = "", down: str = "",
    offset: str = "",
) -> Template:  # fmt: skip
    """The fleet, a page at a time."""
    parts = parts_of(request)
    words = reveal(parts, find, str) if find else q
    order: SeedSort = next((known for known in SEED_SORTS if known == sort), "imsi")
    state: SeedState | None = next((known for known in SEED_STATES if known == status), None)
    if (status and state is None) or (sort and order != sort):
        raise Invalid("status" if status and state is None else "sort", "not one of those on the page")
    start = whole_number(offset, "offset", 0, _MOST)
    found = await parts.seed_list.page(
        SeedQuery(words=words, carrier=carrier, state=state or "", sort=order, descending=bool(down), offset=start, limit=_SHOWN)
    )
    asked = {"q": q, "find": find, "carrier": carrier, "status": status, "sort": sort, "down": down}
    context: dict[str, Any] = {
        "found": found, "start": start, "order": order, "is_down": bool(down), "columns": _COLUMNS,
        "sorted_by": {
            name: with_query(_PATH, **asked | {"sort": name, "down": "1" if name == order and not down else ""}) for name in SEED_SORTS
        },
        "before": with_query(_PATH, **asked, offset=max(0, start - _SHOWN)) if start else "",
        "after": with_query(_PATH, **asked, offset=start + _SHOWN) if start + _SHOWN < found.total else "",
        "in_state": {name: with_query(_PATH, **asked | {"status": name}) for name in ("", *SEED_STATES)}, "only": status,
        "is_filtered": bool(words or carrier or status),
    }  # fmt: skip
    if is_part(request):
        return partial(request, "_seeds.html", **context)
    return page(
        request, "seeds.html", title="Seeds", section="seeds", **context, words=words, carrier=carrier,
        carriers=[("", "any"), *found.carriers.items()], here=with_query(_PATH, **asked, offset=start),
    )  # fmt: skip


@post("/seeds/find", status_code=200)
async def find_seeds(request: AnyRequest) -> Response[Any]:
    """From a search to its page. What could be a phone's number is sealed in the address."""
    fields = await form(request)
    words = fields.get("q", "")[:100]
    digits = sum(map(str.isdigit, words))
    is_number = digits >= _NUMBER_DIGITS and not any(map(str.isalpha, words))
    said = {"find": hide(parts_of(request), words)} if is_number else {"q": words}
    return redirect(with_query(_PATH, **said, carrier=fields.get("carrier", ""), status=fields.get("status", "")))


async def _about(request: AnyRequest, imsi: str) -> dict[str, Any]:
    """What renews itself on a seed's page."""
    parts = parts_of(request)
    rows = await parts.seed_list.rows([imsi])
    if not rows:
        raise NotFound("no such seed")
    failovers = [failover for failover in await parts.statistics.failovers(MAX_FAILOVERS) if failover.seed == imsi]
    queue = (await parts.enrolment.queues()).get(imsi)
    names = await parts.admin.names([rows[0].seed.account]) if rows[0].seed.account else {}
    return {
        "row": rows[0], "seed": rows[0].seed, "held": await parts.seeds.holds(imsi, _HELD), "failovers": failovers[:_LATEST],
        "tests": list(reversed(await parts.reliability.tests(imsi)))[:_LATEST], "queue": queue.queue if queue else "",
        "binding": queue.binding if queue else "", "account_name": names.get(rows[0].seed.account, ""), "rules": parts.settings.rules(),
    }  # fmt: skip


@get("/seeds/{imsi:str}")
async def show_seed(request: AnyRequest, imsi: str) -> Template:
    """One seed."""
    if is_part(request):
        return partial(request, "_seed.html", **await _about(request, imsi))
    return await _seed_page(request, imsi)


async def _seed_page(request: AnyRequest, imsi: str, fault: str = "", typed: dict[str, str] | None = None) -> Template:
    quota = (await parts_of(request).seeds.get(imsi)).quota
    about = await _about(request, imsi)
    limits = {name: "" if (limit := getattr(quota, name)) is None else str(limit) for name in WINDOWS}
    values = {"carrier": about["seed"].carrier, "msisdn": "", "pace_seconds": "", "account": about["seed"].account, **limits}
    return page(
        request, "seed.html", title=f"Seed {imsi}", section="seeds", status=422 if fault else 200, **about, fault=fault,
        values=values | (typed or {}), is_shared=about["seed"].shared,
    )  # fmt: skip


_CHANGES: Final[dict[str, tuple[dict[str, Any], str, str]]] = {
    "enable": ({"enabled": True}, "It is given messages again.", "ok"),
    "disable": ({"enabled": False}, "It is given nothing more. What it has in its hands it may still send.", "warn"),
    "drain": ({"draining": True}, "It sends what it has, and is given nothing new.", "warn"),
    "undrain": ({"draining": False}, "It is given messages again.", "ok"),
}


@post("/seeds/{imsi:str}/{what:str}", status_code=200)
async def change_seed(request: AnyRequest, imsi: str, what: str) -> Redirect | Template:
    """Does one thing to a seed."""
    parts, place = parts_of(request), f"{_PATH}/{quote(imsi)}"
    parts.seed_list.forget()
    if what in _CHANGES:
        fields, words, kind = _CHANGES[what]
        await parts.seeds.change(imsi, **fields)
        return back(request, place, words, kind)
    if what == "change":
        return await _change(request, imsi)
    if what == "close-breaker":
        await parts.seeds.close_breaker(imsi)
        return back(request, place, "Its failures in a row are forgotten; it is given messages at once.")
    if what == "test":
        try:
            probe = await parts.reliability.start(imsi)
        except (Conflict, LimitReached, Invalid, Unavailable) as error:
            return back(request, place, f"No test was begun: {error}.", "error")
        return back(request, place, f"Test {probe.id} has begun: an SMS goes through this seed alone.")
    raise NotFound("no such page")


@get("/seeds/{imsi:str}/{what:str}")
async def loaded_again(imsi: str, what: str) -> Response[Any]:
    """Where what was entered was wrong, the page bears this address; a form is not posted again."""
    return redirect(f"{_PATH}/{quote(imsi)}")


async def _change(request: AnyRequest, imsi: str) -> Redirect | Template:
    """What is left empty stays as it is; a quota that is left empty is the router's setting again."""
    parts, fields = parts_of(request), await form(request)
    try:
        account = fields.get("account", "")
        if account:
            await parts.admin.get(account)
        await parts.seeds.change(
            imsi, carrier=fields.get("carrier") or None, msisdn=fields.get("msisdn") or None,
            pace_seconds=seconds_of("pace_seconds", fields.get("pace_seconds", "")), quota=quota_of(fields), account=account,
            shared=fields.get("shared") == "on",
        )  # fmt: skip
    except (Invalid, NotFound) as error:
        return await _seed_page(request, imsi, str(error), fields)
    return back(request, f"{_PATH}/{quote(imsi)}", "Changed.")


HANDLERS: list[HTTPRouteHandler] = [*enrol.HANDLERS, list_seeds, find_seeds, show_seed, change_seed, loaded_again]
