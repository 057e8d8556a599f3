"""What the routes work with: the use cases, wired once per process."""

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import structlog
from litestar import MediaType
from litestar.connection import ASGIConnection
from litestar.openapi import ResponseSpec
from litestar.response.base import ASGIResponse

from router.clock import Clock
from router.domain.errors import Unauthorized
from router.queue.entries import QueuePublisher
from router.queue.inbound import InboundPublisher
from router.secrets import Secrets
from router.services import wiring
from router.services.account_view import AccountViews
from router.services.accounts import AccountAdmin, AccountDirectory
from router.services.amqp_enrolment import AmqpEnrolment
from router.services.clients import Clients
from router.services.codes import Codes
from router.services.console import Console
from router.services.dead_letters import DeadLetters
from router.services.device_view import DeviceViews
from router.services.devices import Devices
from router.services.enrolment import Enrolment
from router.services.fraud import Fraud
from router.services.incoming import IncomingMessages
from router.services.inquiry import Inquiry
from router.services.logins import Logins
from router.services.message_search import MessageSearch
from router.services.outbox import Outbox
from router.services.phone_incoming import PhoneIncoming
from router.services.phone_settings import PhoneSettings
from router.services.phones import Phones
from router.services.presence import Presence
from router.services.queue_view import QueueView
from router.services.reliability import Reliability
from router.services.seed_list import SeedList
from router.services.seeds import SeedRegistry
from router.services.signing_keys import SigningKeys
from router.services.statistics import Statistics
from router.services.streams import PhoneStreams
from router.services.submission_list import SubmissionList
from router.services.submissions import Submissions
from router.services.submit import Submit
from router.services.sync import Sync
from router.services.sync_keys import ServerKey
from router.services.sync_sockets import SyncSockets
from router.services.tokens import Tokens
from router.services.webhook_registry import DeadDeliveries, WebhookRegistry
from router.services.webhooks import IncomingAnnouncer
from router.services.wiring import Wiring, wire
from router.settings import Settings
from router.store.store import Store

_log = structlog.get_logger()


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The use cases of one api process."""

    wiring: Wiring
    settings: Settings
    secrets: Secrets
    clock: Clock
    store: Store
    publisher: QueuePublisher
    accounts: AccountDirectory
    admin: AccountAdmin
    account_views: AccountViews
    tokens: Tokens
    logins: Logins
    presence: Presence
    submit: Submit
    submissions: Submissions
    submission_list: SubmissionList
    codes: Codes
    outbox: Outbox
    devices: Devices
    device_views: DeviceViews
    phone_settings: PhoneSettings
    webhooks: WebhookRegistry
    dead_deliveries: DeadDeliveries
    dead_letters: DeadLetters
    phones: Phones
    streams: PhoneStreams
    seeds: SeedRegistry
    seed_list: SeedList
    enrolment: Enrolment
    inbound: InboundPublisher
    incoming: IncomingMessages
    phone_incoming: PhoneIncoming
    inquiry: Inquiry
    message_search: MessageSearch
    clients: Clients
    reliability: Reliability
    sync: Sync
    sync_sockets: SyncSockets
    statistics: Statistics
    fraud: Fraud
    console: Console
    queue_view: QueueView
    leaving: asyncio.Event
    """Set when the process is told to stop: it goes on for `drain_seconds`, and proxies are told to go elsewhere."""
    closing: asyncio.Event
    """Set when the process stops: long-polls end."""

    def check_operator(self, token: str) -> None:
        """Raises `Unauthorized`."""
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.secrets.operator_token.encode()):
            raise Unauthorized("wrong operator token")


def parts_of(connection: "ASGIConnection[Any, Any, Any, Any]") -> Parts:
    """The parts of the process that this request came to."""
    parts: Parts = connection.app.state["parts"]
    return parts


_encode = msgspec.json.Encoder().encode


def answer(body: Any) -> ASGIResponse:
    """200 with a body in JSON. For the calls that come thousands of times a second: litestar's own way makes a response of the body, and of
    that response this one, which is a tenth of such a call's time. The decorator then names the body by `answers`.
    """
    return ASGIResponse(body=_encode(body), media_type=MediaType.JSON)


def answers(body: Any) -> dict[int, ResponseSpec]:
    """What stands in the OpenAPI document for a handler that returns `answer(body)`."""
    return {200: ResponseSpec(data_container=body, description="", generate_examples=False)}


def header_of(connection: "ASGIConnection[Any, Any, Any, Any]", name: bytes) -> str:
    """The first header of that (lower-case) name, or an empty text; without litestar's parsing of all of them."""
    return next((value.decode("latin-1") for key, value in connection.scope["headers"] if key == name), "")


def bearer_of(connection: "ASGIConnection[Any, Any, Any, Any]") -> str:
    """The bearer token of a request; empty where there is none."""
    scheme, _, token = header_of(connection, b"authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def make_parts(settings: Settings, secrets: Secrets) -> Parts:
    """Wires everything that the routes need; `running` starts it."""
    base = wire(settings, secrets)
    store, clock, rules, transitions = base.store, base.clock, base.rules, base.transitions
    closing = asyncio.Event()
    accounts = AccountDirectory(store)
    admin = AccountAdmin(store, clock, settings)
    tokens = Tokens(
        store, accounts, clock, secrets.jwt_secret if settings.tokens else "", access_seconds=settings.access_token_seconds,
        refresh_seconds=settings.refresh_token_seconds, max_families=settings.max_token_families,
    )  # fmt: skip
    presence = Presence(store, clock, rules)
    pepper = bytes.fromhex(secrets.code_pepper)
    devices = Devices(store, clock, rules, settings)
    phone_settings = PhoneSettings(store, devices, rules)
    outbox = Outbox(store, transitions, clock, rules, open_seeds=settings.open_seeds, gather_seconds=settings.gather_seconds)
    submit = Submit(store, base.publisher, transitions, accounts, presence, clock, rules, settings, pepper)
    submissions = Submissions(store, submit.acceptance, transitions, devices, clock, rules)
    seeds = SeedRegistry(store, clock, rules, settings)
    inbound = InboundPublisher(base.broker, settings.max_inbound)
    told_to = [account for account in settings.inbound_accounts.split(",") if account]
    reliability = Reliability(store, base.publisher, clock, rules, settings)
    incoming = IncomingMessages(store, inbound, IncomingAnnouncer(store, clock, told_to), seeds, clock, settings, reliability)
    return Parts(
        wiring=base,
        settings=settings,
        secrets=secrets,
        clock=clock,
        store=store,
        publisher=base.publisher,
        accounts=accounts,
        admin=admin,
        account_views=AccountViews(store, admin, clock),
        tokens=tokens,
        logins=Logins(store, accounts, admin, tokens, clock, settings),
        presence=presence,
        submit=submit,
        submissions=submissions,
        submission_list=SubmissionList(store, submissions, clock),
        codes=Codes(store, transitions, pepper),
        outbox=outbox,
        devices=devices,
        device_views=DeviceViews(devices, admin, clock, rules),
        phone_settings=phone_settings,
        webhooks=WebhookRegistry(store, devices, phone_settings, settings),
        dead_deliveries=DeadDeliveries(store, clock),
        dead_letters=DeadLetters(base.broker, clock),
        phones=Phones(store, devices, outbox, transitions, clock, rules),
        streams=PhoneStreams(store, outbox.waiters),
        seeds=seeds,
        seed_list=SeedList(store, clock, rules),
        enrolment=Enrolment(seeds, admin, AmqpEnrolment(store, clock, settings.phones_amqp_project)),
        inbound=inbound,
        incoming=incoming,
        phone_incoming=PhoneIncoming(
            incoming, devices, SigningKeys(phone_settings), clock, rules, settings, bytes.fromhex(secrets.seal_key)
        ),
        inquiry=Inquiry(store, transitions, clock, rules),
        message_search=MessageSearch(store, rules),
        clients=Clients(store, clock, open_seeds=settings.open_seeds),
        reliability=reliability,
        sync=Sync(store, clock, settings.sync_rules(), ServerKey(secrets.sync_key), settings.max_password_checks),
        sync_sockets=SyncSockets(store, clock, settings.sync_rules(), settings.max_sync_sockets, closing),
        statistics=base.statistics,
        fraud=Fraud(store, base.statistics, clock, settings.fraud_rules(), presence),
        console=Console(store, clock, settings, secrets.operator_token),
        queue_view=QueueView(store, base.publisher, inbound, settings.redis_url),
        leaving=asyncio.Event(),
        closing=closing,
    )


@contextlib.asynccontextmanager
async def running(parts: Parts) -> AsyncIterator[None]:
    """The background work of an api process."""
    async with wiring.running(parts.wiring):
        await parts.presence.look()
        parts.inbound.start()
        work = {
            "presence": parts.presence.watch(),
            "hints": parts.outbox.waiters.listen(),
            "news": parts.streams.listen(),
            "long-polls": parts.outbox.waiters.look(),
            "syncs": parts.sync_sockets.listen(),
        }
        tasks = [asyncio.create_task(coroutine, name=name) for name, coroutine in work.items()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await parts.inbound.stop()
