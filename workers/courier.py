"""The courier: tells webhooks what happened. Run as many as you like; each delivery is held by one at a time."""

import asyncio
import time

from router import metrics
from router.secrets import Secrets
from router.services.courier import Courier
from router.services.devices import Devices
from router.services.phone_settings import PhoneSettings
from router.services.postman import Postman
from router.services.signing_keys import SigningKeys
from router.settings import Settings
from workers.role import run as run_role
from workers.role import starting

_OBSERVE_EVERY_SECONDS = 1.0
_TIDY_EVERY_SECONDS = 10.0


async def _main(settings: Settings, secrets: Secrets) -> None:
    async with starting(settings, secrets, "courier", settings.courier_metrics_port) as role:
        rules, wiring = settings.webhook_rules(), role.wiring
        postman = Postman(
            timeout_seconds=rules.timeout_seconds, allow_http=settings.webhook_allow_http,
            allow_private=settings.webhook_allow_private, at_once=rules.total,
        )  # fmt: skip
        devices = Devices(wiring.store, wiring.clock, wiring.rules, settings)
        keys = SigningKeys(PhoneSettings(wiring.store, devices, wiring.rules))
        courier = Courier(wiring.store, wiring.clock, postman, keys, rules)

        async def look() -> None:
            await courier.look()
            metrics.LAST_RUN.labels("courier").set(time.time())

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(role.every(0.0, look))
            tasks.create_task(role.every(_OBSERVE_EVERY_SECONDS, courier.observe))
            tasks.create_task(role.every(_TIDY_EVERY_SECONDS, courier.tidy))
        await courier.stop(settings.stop_grace_seconds)
        await postman.close()


def run(settings: Settings, secrets: Secrets) -> int:
    """The courier role, until SIGTERM or SIGINT: what is under way is finished first. Gives the exit code."""
    return run_role(_main(settings, secrets))
