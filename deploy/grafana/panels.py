"""The few kinds of panels that our dashboards are made of, so that all look and explain themselves alike."""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any, Final, TypeVar

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.grafana.limits import LIMITS, runbook
from router.domain.carriers import carrier_name, country_of_carrier
from router.metrics import CARRIERS

SOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

Panel = timeseries.Panel | stat.Panel | heatmap.Panel
_AS_LINE: Final = [
    models.DynamicConfigValue("custom.stacking", {"mode": "none"}),
    models.DynamicConfigValue("custom.fillOpacity", 0),
    models.DynamicConfigValue("custom.lineWidth", 2),
]
P = TypeVar("P", timeseries.Panel, stat.Panel, heatmap.Panel)


class Query(prometheus.Dataquery):
    """A PromQL expression and how its series are called: `{{label}}` stands for a label's value."""

    def __init__(self, expr: str, legend: str = "", *, instant: bool = False) -> None:
        super().__init__()
        self.expr(expr).legend_format(legend or "__auto").datasource(SOURCE)
        if instant:
            self.instant()
        else:
            self.range()


def carrier_title(carrier: str) -> str:
    """`Mobilis DZ`; what has no name keeps its code."""
    return f"{carrier_name(carrier)} {country_of_carrier(carrier)}" if carrier.isdigit() else carrier


def series(
    number: int, title: str, shows: str, wrong: str, unit: str, *queries: Query, width: int = 12, alerts: Sequence[str] = (),
    stacked: bool = False, lines: Sequence[str] = (), floor: float | None = 0, ceiling: float | None = None, decimals: int | None = None,
) -> timeseries.Panel:  # fmt: skip
    """Lines over time, or areas that add up (`stacked`), but for those named in `lines`. `alerts` draws their numbers and links runbooks.

    `floor` and `ceiling` bound the axis, at least: `floor=None` leaves it to the values.
    """
    panel = timeseries.Panel()
    legend = common.VizLegendOptions().display_mode(looks.LegendDisplayMode.LIST).placement(looks.LegendPlacement.BOTTOM)
    panel.legend(legend.show_legend(True).calcs(["lastNotNull", "max"]))
    panel.tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
    panel.fill_opacity(40 if stacked else 8).line_width(1).show_points(looks.VisibilityMode.NEVER).span_nulls(60_000)
    if stacked:
        panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A"))
    if floor is not None:
        panel.min(floor)
    if ceiling is not None:
        panel.axis_soft_max(ceiling)
    if decimals is not None:
        panel.decimals(decimals)
    if alerts:
        panel.thresholds(_thresholds(alerts)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED)
        )
    for name in lines:
        panel.override_by_name(name, _AS_LINE)
    for carrier in CARRIERS:
        if carrier.isdigit() and any("carrier" in query.build().expr for query in queries):
            panel.override_by_name(carrier, [models.DynamicConfigValue("displayName", carrier_title(carrier))])
    return _described(panel, number, title, shows, wrong, unit, queries, alerts).height(8).span(width)


def figure(
    number: int, title: str, shows: str, wrong: str, unit: str, query: Query, *, width: int = 4, alerts: Sequence[str] = (),
    words: dict[str, tuple[str, str]] | None = None, decimals: int | None = None, nothing: str = "no data",
) -> stat.Panel:  # fmt: skip
    """The latest value, large. `words` says values in words and colours: `{"1": ("yes", "green")}`; `nothing` what is said without one."""
    panel = stat.Panel().color_mode(looks.BigValueColorMode.VALUE).graph_mode(
        looks.BigValueGraphMode.NONE if words else looks.BigValueGraphMode.AREA
    )
    panel.reduce_options(common.ReduceDataOptions().values(False).calcs(["lastNotNull"])).no_value(nothing)
    if words:
        mapped = {value: models.ValueMappingResult(text=text, color=colour) for value, (text, colour) in words.items()}
        panel.mappings([models.ValueMap(options=mapped)])
    if decimals is not None:
        panel.decimals(decimals)
    panel.thresholds(_thresholds(alerts))
    return _described(panel, number, title, shows, wrong, unit, [query], alerts).height(4).span(width)


def buckets(number: int, title: str, shows: str, wrong: str, query: Query, *, width: int = 12) -> heatmap.Panel:
    """Cumulative buckets with the label `le`, in seconds, over time."""
    panel = heatmap.Panel().calculate(False).color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(64))
    panel.y_axis(heatmap.YAxisConfig().unit("s").axis_placement(looks.AxisPlacement.LEFT))
    panel.cell_values(heatmap.CellValues().unit("short").decimals(0))
    panel.rows_frame(heatmap.RowsHeatmapOptions().layout(looks.HeatmapCellLayout.LE))
    query.format(PromQueryFormat.HEATMAP)  # Grafana takes the lower buckets out of each
    return _described(panel, number, title, shows, wrong, "short", [query], ()).height(8).span(width)


def _described(
    panel: P, number: int, title: str, shows: str, wrong: str, unit: str, queries: Sequence[Query], alerts: Sequence[str]
) -> P:
    panel.id(number).title(title).description(f"{shows}\n\n**When it looks wrong:** {wrong}").unit(unit).datasource(SOURCE)
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        panel.with_target(query.ref_id(letter))
    panel.links([_runbook_link(alert) for alert in alerts])
    return panel


def _runbook_link(alert: str) -> dashboards.DashboardLink:
    link = dashboards.DashboardLink(f"Runbook: {alert}").type(models.DashboardLinkType.LINK)
    return link.url(runbook(alert)).target_blank(True)


def _thresholds(alerts: Sequence[str]) -> dashboards.ThresholdsConfig:
    """Green, and red from an alert's number on; of two alerts the first colours orange. Below a floor it is red."""
    limits = sorted((LIMITS[alert] for alert in alerts), key=lambda limit: limit.value)
    steps: list[Any] = [models.Threshold(value=None, color="green")]
    for place, limit in enumerate(limits, 1):
        if limit.is_floor:
            steps[-1].color = "red"
            steps.append(models.Threshold(value=limit.value, color="green"))
        else:
            steps.append(models.Threshold(value=limit.value, color="red" if place == len(limits) else "orange"))
    return dashboards.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
