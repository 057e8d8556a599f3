"""What all our dashboards share: variables, links, refresh, and how their rows are laid out."""

import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana.panels import SOURCE, Panel, carrier_title
from router.metrics import CARRIERS

TAG: Final = "seedrouter"
SOURCE_UID: Final = "seedrouter-prometheus"
"""Of provisioning/datasources; another one can be chosen at the top of each dashboard."""
CONSOLE: Final = "http://127.0.0.1:8090/console"
"""Where the console is unless somebody says otherwise at the top of a dashboard: the address for operators of docker-compose.yml."""
_FIRST_ROW = 1000


class Row(msgspec.Struct, frozen=True):
    """A heading and the panels below it, from left to right; their widths fill lines of 24."""

    title: str
    panels: Sequence[Panel]


def board(uid: str, title: str, description: str, rows: Sequence[Row]) -> dict[str, Any]:
    """A dashboard as Grafana reads it. Panels' numbers are fixed, since alerts lead to them."""
    built = dashboards.Dashboard(title).uid(uid).description(description).tags([TAG]).timezone("browser")
    built.refresh("15s").time("now-1h", "now").tooltip(models.DashboardCursorSync.CROSSHAIR)
    built.variables([_source(), _carrier(), _console()]).links(_links()).annotation(_firing())
    for number, row in enumerate(rows, _FIRST_ROW):
        built.with_row(dashboards.Row(row.title).id(number))
        for panel in row.panels:
            built.with_panel(panel)
    decoded: dict[str, Any] = json.loads(json.dumps(built.build(), cls=JSONEncoder))
    return decoded


def _source() -> dashboards.DatasourceVariable:
    known = models.VariableOption(text="Prometheus", value=SOURCE_UID)
    return dashboards.DatasourceVariable("datasource").label("Prometheus").type("prometheus").current(known)


def _carrier() -> dashboards.CustomVariable:
    everything = models.VariableOption(selected=True, text=["All"], value=["$__all"])
    options = ", ".join(f"{carrier_title(carrier)} : {carrier}" for carrier in CARRIERS)
    variable = dashboards.CustomVariable("carrier").label("Carrier").values(options).multi(True).include_all(True)
    return variable.all_value(".*").current(everything)


def _console() -> dashboards.TextBoxVariable:
    where = models.VariableOption(text=CONSOLE, value=CONSOLE)
    return dashboards.TextBoxVariable("console").label("Console").default_value(CONSOLE).current(where)


def _links() -> list[Builder[models.DashboardLink]]:
    others = dashboards.DashboardLink("Dashboards").type(models.DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(True).include_vars(True)
    console = dashboards.DashboardLink("Console").type(models.DashboardLinkType.LINK).url("${console}").icon("external link")
    return [others, console.tooltip("One message's journey, seeds, accounts, dead letters").target_blank(True)]


def _firing() -> dashboards.AnnotationQuery:
    query = dashboards.AnnotationQuery().name("Alerts").datasource(SOURCE).enable(True).icon_color("red")
    return query.expr('ALERTS{alertstate="firing", service="seedrouter"}')
