"""Every PromQL expression of the committed dashboards and rules, for tests that ask a real Prometheus.

It reads what is committed, not what would be generated: that is what runs.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

DASHBOARDS: Final = Path(__file__).with_name("json")
RULES: Final = Path(__file__).parents[1] / "prometheus" / "rules"

_NO_LIMIT: Final = "a Redis without maxmemory has no share of it to show"
EMPTY_ON_PURPOSE: Final[Mapping[str, str]] = {
    "Seedrouter / Overview / Conversion against last week / A": "there is no last week in the first week",
    "Seedrouter / Overview / Codes against the usual / A": "what is usual begins an hour ago",
    "Seedrouter / Queue and Redis / Memory used / A": _NO_LIMIT,
    "record seedrouter:redis_memory_used:ratio": _NO_LIMIT,
}
"""`where` of an expression that may return nothing in a router that was just started and is well, and why.

Alerts are not listed one by one: each returns nothing as long as all is well, and its `selectors` are asked instead.
"""

_ALERT: Final = "an alert: it returns something only when something is wrong"
_SELECTOR: Final = re.compile(r"\b((?:\w+:)?seedrouter[\w:]+|up)\b(\{[^}]*\})?")


class Expression(msgspec.Struct, frozen=True, kw_only=True):
    """One PromQL expression and where it stands."""

    where: str
    """`<dashboard's title> / <panel's title> / <refId>`, `variable …`, or `record …` and `alert …` for rules."""
    expr: str
    """As it is committed: a panel's has `$carrier` and `$__rate_interval` in it."""
    empty_on_purpose: str | None = None
    """Why it may return nothing in a router that is well; None = it has to return something."""

    def query(self, *, rate_interval: str = "1m", carrier: str = ".*") -> str:
        """The expression as Grafana would send it."""
        values = {"$__rate_interval": rate_interval, "$__range": "1h", "$__interval": "15s", "$carrier": carrier}
        found = self.expr
        for name, value in values.items():
            found = found.replace(name, value)
        return found

    @property
    def selectors(self) -> tuple[str, ...]:
        """The series that it reads, each once, without ranges and offsets: `up{job="api"}`, `seedrouter_parked`."""
        return tuple(dict.fromkeys(name + matchers for name, matchers in _SELECTOR.findall(self.query())))


def expressions() -> list[Expression]:
    """All of them: dashboards in the order of their files and panels, then rules."""
    return [*dashboard_expressions(), *rule_expressions()]


def dashboards() -> list[dict[str, Any]]:
    """The committed dashboards as Grafana reads them."""
    return [json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))]


def rules() -> list[dict[str, Any]]:
    """The rules of all groups of all files as Prometheus reads them."""
    files = [msgspec.yaml.decode(path.read_bytes()) for path in sorted(RULES.glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def dashboard_expressions() -> list[Expression]:
    """Those of panels and of annotations."""
    found = []
    for dashboard in dashboards():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                where = f"{dashboard['title']} / {panel['title']} / {target['refId']}"
                found.append(_expression(where, target["expr"]))
        found += [
            _expression(f"{dashboard['title']} / annotation {annotation['name']}", annotation["expr"], _ALERT)
            for annotation in dashboard["annotations"]["list"]
            if "expr" in annotation
        ]
    return found


def rule_expressions() -> list[Expression]:
    """Those of recording rules (`record …`) and alerts (`alert …`)."""
    kinds = [("alert", _ALERT), ("record", None)]
    return [_expression(f"{kind} {rule[kind]}", rule["expr"], empty) for rule in rules() for kind, empty in kinds if kind in rule]


def _expression(where: str, expr: str, empty: str | None = None) -> Expression:
    return Expression(where=where, expr=expr.strip(), empty_on_purpose=EMPTY_ON_PURPOSE.get(where, empty))
