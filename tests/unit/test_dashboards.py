"""Grafana's dashboards and Prometheus' rules: up to date, complete, and true to the metrics, the docs and each other."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

import router.metrics
from deploy.grafana.board import CONSOLE, SOURCE_UID
from deploy.grafana.expressions import EMPTY_ON_PURPOSE, Expression, dashboards, expressions, rules
from deploy.grafana.generate import differing, generated, main
from deploy.grafana.limits import LIMITS, RUNBOOKS, runbook
from router.domain.rules import Rules
from router.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UIDS = ["seedrouter-overview", "seedrouter-queue", "seedrouter-routing", "seedrouter-seeds"]
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}
HEADING = re.compile(r"^### (\w+)$", re.MULTILINE)
DASHBOARD_URL = re.compile(r"/d/([\w-]+)\?viewPanel=(\d+)(&var-carrier=\{\{ \$labels\.carrier \}\})?")
MATCHER = re.compile(r'(\w+)(=~|=|!=)"([^"]*)"')


def read_yaml(path: Path) -> Any:
    return msgspec.yaml.decode(path.read_bytes())


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that show something: no row headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


@pytest.fixture(params=dashboards(), ids=lambda dashboard: dashboard["uid"])
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


def test_committed_dashboards_are_what_the_code_makes() -> None:
    """Who changes a dashboard's code writes its JSON with it: python -m deploy.grafana.generate."""
    assert [] == differing(generated())
    assert 0 == main(["--check"])
    assert UIDS == [dashboard["uid"] for dashboard in dashboards()]


def test_a_difference_is_noticed(tmp_path: Path) -> None:
    """A file that was edited, one that is missing and one that nobody makes any more."""
    (tmp_path / "same.json").write_text("1")
    (tmp_path / "edited.json").write_text("2")
    (tmp_path / "old.json").write_text("3")

    assert ["edited.json", "missing.json", "old.json"] == differing({"same.json": "1", "edited.json": "1", "missing.json": "1"}, tmp_path)


def test_what_all_dashboards_share(dashboard: dict[str, Any]) -> None:
    """Schema, refresh, variables, and links to the others and to the console."""
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    links = {link["title"]: link for link in dashboard["links"]}

    assert 41 == dashboard["schemaVersion"]  # Grafana 11.6; newer ones migrate it
    assert "15s" == dashboard["refresh"]
    assert ["datasource", "carrier", "console"] == list(variables)
    assert ("datasource", "prometheus") == (variables["datasource"]["type"], variables["datasource"]["query"])
    assert SOURCE_UID == variables["datasource"]["current"]["value"]
    assert ("custom", ".*", True, True) == tuple(variables["carrier"][key] for key in ("type", "allValue", "includeAll", "multi"))
    assert router.metrics.CARRIERS == tuple(option.split(" : ")[1] for option in variables["carrier"]["query"].split(", "))
    assert ("dashboards", ["seedrouter"]) == (links["Dashboards"]["type"], links["Dashboards"]["tags"])
    assert "seedrouter" in dashboard["tags"]
    assert "${console}" == links["Console"]["url"]


def test_panels_have_their_places(dashboard: dict[str, Any]) -> None:
    """On the grid of 24 columns, none over another, and none where a line has no room for it."""
    cells: set[tuple[int, int]] = set()
    area = 0
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        area += place["w"] * place["h"]
        cells |= {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}

    assert area == len(cells)
    assert {0, 23} == {min(x for x, _ in cells), max(x for x, _ in cells)}


def test_panels_explain_themselves(dashboard: dict[str, Any]) -> None:
    """A number for alerts to lead to, a title, a unit, and what to do when it looks wrong."""
    numbers = [panel["id"] for panel in dashboard["panels"]]
    titles = [panel["title"] for panel in panels(dashboard)]

    assert len(numbers) == len(set(numbers))
    assert len(titles) == len(set(titles))
    for panel in panels(dashboard):
        shows, wrong = panel["description"].split("\n\n**When it looks wrong:** ")
        assert min(len(shows), len(wrong)) > 20, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_targets_are_whole(dashboard: dict[str, Any]) -> None:
    """Each asks the chosen Prometheus, has a letter of its own, and only variables that Grafana fills in."""
    for panel in panels(dashboard):
        letters = [target["refId"] for target in panel["targets"]]
        assert len(letters) == len(set(letters)) > 0, panel["title"]
        for target in panel["targets"]:
            assert {"type": "prometheus", "uid": "${datasource}"} == target["datasource"], panel["title"]
            assert set(re.findall(r"\$\w+", target["expr"])) <= {"$carrier", "$__rate_interval"}, target["expr"]
            assert target["instant"] != target["range"], panel["title"]


@pytest.mark.parametrize("expression", expressions(), ids=lambda expression: expression.where)
def test_an_expression_reads_what_is_there(expression: Expression) -> None:
    """Its series are exported by every process from the start with these labels, or recorded; its jobs are those of prometheus.yml."""
    assert expression.selectors or expression.expr.startswith(("vector(", "ALERTS{"))
    assert "$" not in expression.query()
    for selector in expression.selectors:
        name, _, matchers = selector.partition("{")
        labels = {label: (kind, value) for label, kind, value in MATCHER.findall(matchers)}
        job = labels.pop("job", ("=", "api"))[1]
        assert job in jobs(), selector
        assert name in RECORDED or name == "up" or exported(name, labels), selector
    for clause in re.findall(r"by \(([^)]*)\)", expression.expr):
        assert set(clause.split(", ")) <= label_names() | {"job"}, expression.expr


def jobs() -> list[str]:
    return [scrape["job_name"] for scrape in read_yaml(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"]]


def exported(name: str, labels: dict[str, tuple[str, str]]) -> bool:
    """Is there a series of that name that the matchers select?"""

    def matches(present: dict[str, str]) -> bool:
        for label, (kind, value) in labels.items():
            is_equal = re.fullmatch(value, present[label]) is not None if kind == "=~" else present[label] == value
            if is_equal == (kind == "!="):
                return False
        return True

    samples = [sample for family in REGISTRY.collect() for sample in family.samples if sample.name == name]
    return any(set(labels) <= set(sample.labels) and matches(sample.labels) for sample in samples)


def label_names() -> set[str]:
    return {label for family in REGISTRY.collect() if family.name.startswith("seedrouter_") for s in family.samples for label in s.labels}


def test_a_wrong_selector_is_noticed() -> None:
    """A metric, a label or a value that no process exports."""
    assert exported("seedrouter_deliveries_total", {"result": ("=", "dead")})
    assert not exported("seedrouter_deliverys_total", {})
    assert not exported("seedrouter_deliveries_total", {"reason": ("=", "dead")})
    assert not exported("seedrouter_deliveries_total", {"result": ("=", "deceased")})
    assert not exported("seedrouter_deliveries_total", {"result": ("=~", "deceased|gone")})


def test_where_says_which_one_it_is() -> None:
    """Each expression has a name of its own, and what is empty on purpose is there, with a reason."""
    names = [expression.where for expression in expressions()]

    assert len(names) == len(set(names))
    assert set(EMPTY_ON_PURPOSE) <= set(names)
    assert all(len(reason) > 20 for reason in EMPTY_ON_PURPOSE.values())


def test_every_recorded_series_is_used() -> None:
    """By a panel, an alert, or another one."""
    used = {selector.partition("{")[0] for expression in expressions() for selector in expression.selectors}

    assert used >= RECORDED


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_complete(name: str) -> None:
    """Severity, words with the figure, a panel that shows it with the same number as a line, and a runbook."""
    rule = ALERTS[name]
    notes = rule["annotations"]
    link = DASHBOARD_URL.fullmatch(notes["dashboard_url"])
    assert link is not None
    by_uid = {dashboard["uid"]: dashboard for dashboard in dashboards()}
    by_number = {panel["id"]: panel for panel in panels(by_uid[link[1]])}
    panel = by_number[int(link[2])]
    steps = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
    compared = [float(number) for number in re.findall(r"(?:[<>]=?|==)\s*(\d+(?:\.\d+)?)", rule["expr"])]

    assert ("seedrouter", True) == (rule["labels"]["service"], rule["labels"]["severity"] in ("page", "ticket"))
    assert "$value" in notes["description"]
    assert notes["summary"]
    assert ("$labels.carrier" in notes["summary"]) == (link[3] is not None)
    assert runbook(name) == notes["runbook_url"]
    assert runbook(name) in [link["url"] for link in panel["links"]]
    assert LIMITS[name].value in steps
    assert LIMITS[name].value in compared
    assert steps[1:] == sorted(steps[1:])


def test_alerts_limits_and_links_are_the_same_ones() -> None:
    """No number without an alert, and no panel that links a runbook of none."""
    linked = {link["url"] for dashboard in dashboards() for panel in panels(dashboard) for link in panel.get("links", [])}

    assert set(LIMITS) == set(ALERTS)
    assert {runbook(name) for name in ALERTS} == linked


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    """docs/operations.md, "Runbooks": a heading per alert, in any order, each with what it means, where to look and what to do."""
    text = (ROOT / "docs" / "operations.md").read_text()
    section = re.split(r"^## ", text.split("\n## Runbooks\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    bounds = [*(match.start() for match in HEADING.finditer(section)), len(section)]
    runbooks = {HEADING.match(section, start)[1]: section[start:end] for start, end in pairwise(bounds)}  # type: ignore[index]

    assert set(ALERTS) == set(runbooks)
    assert len(runbooks) == len(HEADING.findall(section))
    for name, words in runbooks.items():
        assert all(part in words for part in ("**Means**", "**Look at**", "**Do**")), name
    documentation = re.search(r'^Documentation = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert documentation is not None
    assert RUNBOOKS == documentation[1].replace("/tree/", "/blob/") + "/operations.md"


def test_commands_of_the_runbooks_exist() -> None:
    """Each `seedrouter …` that the runbooks and the panels name."""
    from click import Group
    from typer.main import get_command

    from router.cli.main import app

    words = (ROOT / "docs" / "operations.md").read_text().split("\n## Runbooks\n")[1].split("\n## ")[0]
    words += "".join(panel["description"] for dashboard in dashboards() for panel in panels(dashboard))
    named = {tuple(found.split()) for found in re.findall(r"`seedrouter ((?:[a-z]+ ?)+)", words)}
    unknown = []
    for command in named:
        here: Any = get_command(app)
        for word in command:
            if isinstance(here, Group):
                here = here.commands.get(word)
        unknown += [command] if here is None else []

    assert len(named) > 5
    assert [] == unknown


def test_every_alert_is_tested_both_ways() -> None:
    """promtool's tests (run in tests/integration/test_rules.py) see each alert fire, and see it not fire."""
    fires: set[str] = set()
    rests: set[str] = set()
    for path in (DEPLOY / "prometheus" / "tests").glob("*.yml"):
        for check in [check for case in read_yaml(path)["tests"] for check in case["alert_rule_test"]]:
            (fires if check["exp_alerts"] else rests).add(check["alertname"])

    assert set(ALERTS) == fires
    assert set(ALERTS) == rests


def test_alerts_numbers_follow_the_rules_defaults() -> None:
    """A storm is what the failover budget does not allow; an entry is stuck when it should have been taken over twice."""
    assert Rules().failover_budget == LIMITS["FailoverStorm"].value
    assert 2 * Settings(_env_file=None).visibility_timeout_seconds == LIMITS["UnacknowledgedStuck"].value


def test_provisioning_leads_to_what_is_mounted() -> None:
    """The fixed datasource, dashboards that the browser cannot change, and the paths and ports of docker-compose.yml."""
    (source,) = read_yaml(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    (provider,) = read_yaml(DEPLOY / "grafana" / "provisioning" / "dashboards" / "seedrouter.yml")["providers"]
    services = read_yaml(ROOT / "docker-compose.yml")["services"]
    prometheus = read_yaml(DEPLOY / "prometheus" / "prometheus.yml")

    assert (SOURCE_UID, "http://prometheus:9090") == (source["uid"], source["url"])
    assert prometheus["global"]["scrape_interval"] == source["jsonData"]["timeInterval"]
    assert provider["allowUiUpdates"] is False
    assert f"./deploy/grafana/json:{provider['options']['path']}:ro" in services["grafana"]["volumes"]
    assert "./deploy/grafana/provisioning:/etc/grafana/provisioning:ro" in services["grafana"]["volumes"]
    assert "./deploy/prometheus:/etc/prometheus:ro" in services["prometheus"]["volumes"]
    assert "--config.file=/etc/prometheus/prometheus.yml" in services["prometheus"]["command"]
    assert any(CONSOLE.split("/")[2].split(":")[1] in port for port in services["caddy"]["ports"])


def test_every_role_is_scraped() -> None:
    """By the name of its service, on the port of its setting; api and dispatcher run more than once, so names are looked up."""
    settings = Settings(_env_file=None)
    services = read_yaml(ROOT / "docker-compose.yml")["services"]
    scraped = {
        scrape["job_name"]: (lookup["names"], lookup["port"], lookup["type"])
        for scrape in read_yaml(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"]
        for lookup in scrape.get("dns_sd_configs", [])
    }
    ports = {"api": settings.port} | {role: getattr(settings, f"{role}_metrics_port") for role in router.metrics.WORKERS}

    assert {role: ([role], port, "A") for role, port in ports.items()} == scraped
    assert set(ports) <= set(services)
