"""The console's routers: what everybody may see (login, scripts), and behind the session everything else."""

from litestar import Router

from router.api.console import accounts, dead, devices, fraud, messages, overview, seeds, session, static, templates
from router.api.console.security import PREFIX, add_headers, same_site, signed_in

_public = Router(PREFIX, route_handlers=[*session.PUBLIC], guards=[same_site], after_request=add_headers, include_in_schema=False)
_pages = Router(
    PREFIX,
    route_handlers=[
        *session.HANDLERS,
        *overview.HANDLERS,
        *messages.HANDLERS,
        *seeds.HANDLERS,
        *devices.HANDLERS,
        *accounts.HANDLERS,
        *templates.HANDLERS,
        *dead.HANDLERS,
        *fraud.HANDLERS,
    ],
    guards=[same_site, signed_in],
    after_request=add_headers,
    include_in_schema=False,
)
_files = Router(PREFIX, route_handlers=[*static.HANDLERS], include_in_schema=False)

routers = [_files, _public, _pages]
