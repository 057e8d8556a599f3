"""Seeds: enrol them, look at them, change them."""

from collections.abc import Sequence
from typing import Any

from litestar import Request, get, patch, post
from litestar.handlers import HTTPRouteHandler
from msgspec.structs import asdict, replace

from router.api.operator.amqp_phones import SeedNew, SeedShown, SeedToEnrol, queue_fields
from router.api.operator.schemas import QuotaBody, SeedChange, SeedTest
from router.api.parts import parts_of
from router.domain.carriers import canonical_carrier
from router.domain.errors import NotFound
from router.domain.reliability import Probe
from router.domain.seed import Quota, Seed
from router.services.enrolment import ToEnrol
from router.services.seed_view import seed_view


async def _view(request: "Request[Any, Any, Any]", seed: Seed) -> SeedShown:
    parts = parts_of(request)
    at_rabbitmq = await queue_fields(parts)
    return SeedShown(**asdict(seed_view(seed, parts.clock.now(), parts.settings.rules())), **at_rabbitmq.get(seed.id, {}))


def _quota(given: QuotaBody | None, before: Quota) -> Quota | None:
    if given is None:
        return None
    return replace(before, **{name: value for name, value in asdict(given).items() if value is not None})


@post("/seeds", status_code=201)
async def enrol(request: "Request[Any, Any, Any]", data: SeedToEnrol) -> SeedNew:
    """Makes a seed dispatchable and gives it a new token; an older one is void."""
    parts = parts_of(request)
    asked = ToEnrol(
        imsi=data.imsi, msisdn=data.msisdn or "", carrier=data.carrier or "", pace_seconds=data.pace_seconds or 0.0,
        quota=_quota(data.quota, Quota()) or Quota(), account=data.account or "", shared=data.shared is not False,
        protocol=data.protocol, subscription_id=data.subscription_id, calling_code=data.calling_code, project=data.project,
    )  # fmt: skip
    seed, token = await parts.enrolment.enrol(asked)
    at_rabbitmq = await queue_fields(parts)
    view = seed_view(seed, parts.clock.now(), parts.settings.rules())
    return SeedNew(**asdict(view), token=token, **at_rabbitmq.get(seed.id, {}))


@get("/seeds")
async def list_seeds(request: "Request[Any, Any, Any]", online: bool | None = None, carrier: str | None = None) -> list[SeedShown]:
    """All seeds that ever pinged or were enrolled, in that order; those online (or not), those of a carrier."""
    parts = parts_of(request)
    now, rules = parts.clock.now(), parts.settings.rules()
    at_rabbitmq = await queue_fields(parts)
    return [
        SeedShown(**asdict(seed_view(seed, now, rules)), **at_rabbitmq.get(seed.id, {}))
        for seed in await parts.seeds.every()
        if online in (None, seed.is_online(now, rules)) and (carrier is None or seed.carrier == canonical_carrier(carrier))
    ]


@get("/seeds/{imsi:str}")
async def show_seed(request: "Request[Any, Any, Any]", imsi: str) -> SeedShown:
    """One seed."""
    return await _view(request, await parts_of(request).seeds.get(imsi))


@patch("/seeds/{imsi:str}")
async def change_seed(request: "Request[Any, Any, Any]", imsi: str, data: SeedChange) -> SeedShown:
    """Changes what is given. A draining seed keeps what it holds and is given nothing new."""
    registry = parts_of(request).seeds
    if data.account:
        await parts_of(request).admin.get(data.account)
    quota = None if data.quota is None else _quota(data.quota, (await registry.get(imsi)).quota)
    seed = await registry.change(
        imsi,
        enabled=data.enabled,
        draining=data.draining,
        carrier=data.carrier,
        msisdn=data.msisdn,
        pace_seconds=data.pace_seconds,
        quota=quota,
        account=data.account,
        shared=data.shared,
    )
    return await _view(request, seed)


async def _tests(request: "Request[Any, Any, Any]", imsi: str, probes: Sequence[Probe]) -> list[SeedTest]:
    parts = parts_of(request)
    records = await parts.store.messages.load(parts.store.batch(), [probe.message for probe in probes])
    return [
        SeedTest(
            id=probe.id, imsi=imsi, status=probe.status, started_at=probe.started_at, deadline=probe.deadline,
            needs_arrival=probe.needs_arrival, sent_at=probe.sent_at, received_at=probe.received_at, routed_at=probe.routed_at,
            message_id=probe.message, message_state=stored.message.state if stored else None,
            message_reason=stored.message.reason if stored else None,
        )
        for probe, stored in zip(probes, records, strict=True)
    ]  # fmt: skip


@post("/seeds/{imsi:str}/tests", status_code=201)
async def start_test(request: "Request[Any, Any, Any]", imsi: str) -> SeedTest:
    """Begins a reliability test: an SMS goes through this seed alone."""
    probe = await parts_of(request).reliability.start(imsi)
    (test,) = await _tests(request, imsi, [probe])
    return test


@get("/seeds/{imsi:str}/tests")
async def list_tests(request: "Request[Any, Any, Any]", imsi: str) -> list[SeedTest]:
    """A seed's reliability tests, the newest first."""
    parts = parts_of(request)
    await parts.seeds.get(imsi)
    return await _tests(request, imsi, list(reversed(await parts.reliability.tests(imsi))))


@get("/seeds/{imsi:str}/tests/{test_id:int}")
async def show_test(request: "Request[Any, Any, Any]", imsi: str, test_id: int) -> SeedTest:
    """One of them."""
    probe = next((probe for probe in await parts_of(request).reliability.tests(imsi) if probe.id == test_id), None)
    if probe is None:
        raise NotFound("no such test of this seed")
    (test,) = await _tests(request, imsi, [probe])
    return test


HANDLERS: list[HTTPRouteHandler] = [enrol, list_seeds, show_seed, change_seed, start_test, list_tests, show_test]
