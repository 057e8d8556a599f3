"""docker-compose.yml, Caddy in front of the api, and the systemd units: what can be run of them without docker is run."""

import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests import rabbitmq
from tests.app import App
from tests.compose import COMPOSE, ROOT, Compose, program_of
from tests.conftest import require
from tests.stack import QUICK, wait_for
from workers.simulator.air import read_ledger

APIS = ("api-1", "api-2-1")
TIMES = {name: value for name, value in QUICK.items() if not name.endswith("_METRICS_PORT")}
OUTSIDE = {"SEEDROUTER_CONSOLE_NETWORKS": "192.0.2.0/24"}
"""Where this machine's loopback is not among those that see everything."""
CLOSED = ("/metrics", "/operator/v1/accounts", "/schema/openapi.json", "/console", "/console/login", "/seeds", "/v3/clients", "/")


def test_docker_compose_takes_the_file(tmp_path: Path) -> None:
    """With every profile, with the example as .env, and as Debian's docker-compose understands it."""
    program = require(shutil.which("docker-compose"), "docker-compose (Debian: apt install docker-compose)")

    def config(*words: str) -> str:
        return subprocess.run(
            [program, *words], env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, cwd=tmp_path,
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout  # fmt: skip

    for source, name in ((COMPOSE, COMPOSE.name), (ROOT / ".env.example", ".env.example")):
        shutil.copy(source, tmp_path / name)
    config("config", "--quiet")
    shutil.copy(ROOT / ".env.example", tmp_path / ".env")
    services: dict[str, Any] = yaml.safe_load(config("--profile", "simulate", "--profile", "rabbitmq", "config"))["services"]
    optional = {name: service["profiles"] for name, service in services.items() if "profiles" in service}
    always = {"api", "api-2", "dispatcher", "timekeeper", "courier", "redis", "caddy", "prometheus", "grafana"}

    assert always == set(services) - set(optional)
    assert {"phones": ["simulate"], "relay": ["rabbitmq"], "rabbitmq": ["rabbitmq"]} == optional
    assert 2 == services["dispatcher"]["deploy"]["replicas"]
    assert "0.0.0.0" == services["courier"]["environment"]["SEEDROUTER_HOST"]
    assert "redis://redis:6379/0" == services["courier"]["environment"]["SEEDROUTER_REDIS_URL"]


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """Everything that is ours, as the file says it, each service healthy by its own check before the next one starts."""
    with Compose(tmp_path_factory.mktemp("compose"), OUTSIDE | {"SEEDROUTER_PHONES": "6"}, **TIMES) as made:
        made.add("redis", "api", "api-2", "caddy", "dispatcher", "timekeeper", "courier", "phones")
        for service in made.services.values():
            service.start()
            if "healthcheck" in service.definition:
                service.wait_until_healthy()
        yield made


@pytest.fixture(scope="module")
def world(compose: Compose) -> Iterator[httpx.Client]:
    """A client out there, which trusts the certificate that Caddy made for itself."""
    root = compose.services["caddy-1"].folder / "data" / "caddy" / "pki" / "authorities" / "local" / "root.crt"
    wait_for(root.exists, "Caddy's own authority")
    with httpx.Client(
        base_url=f"https://localhost:{compose.https_port}", verify=ssl.create_default_context(cafile=root), timeout=40, trust_env=False
    ) as client:
        wait_for(lambda: answers(client), "Caddy's certificate")
        yield client


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health/live").is_success
    except httpx.TransportError:
        return False


def test_a_code_goes_all_the_way(compose: Compose, world: httpx.Client) -> None:
    """Submitted over TLS at the public name, sent by a simulated phone that came by way of Caddy too; the commands reach the router."""
    account = compose.operator("POST", "/accounts", {"name": "shop", "balance": 1000, "price": 5})
    headers = {"Authorization": f"Bearer {account['key']}"}
    wait_for(lambda: len(httpx.get(f"{compose.inside}/seeds", timeout=40, trust_env=False).json()) == 6, "the phones to be online")
    body = {"phone": "+213661000222"}
    sent = wait_for(lambda: _accepted(world.post("/api/v1/send-otp", json=body, headers=headers)), "a code to be accepted")
    wait_for(lambda: world.get(f"/api/v1/status/{sent}", headers=headers).json()["status"] == "sent", "it to be sent")
    ledger = read_ledger(compose.services["phones-1"].folder / "air.jsonl")
    api = compose.services["api-1"]
    listed = compose.run("accounts", "list", "--json", **api.environment | {"SEEDROUTER_URL": compose.inside})

    assert [sent] == [sms.id for sms in ledger]
    assert account["id"] in listed


def _accepted(answer: httpx.Response) -> str:
    return str(answer.json()["reference_id"]) if answer.is_success else ""


@pytest.mark.parametrize("path", CLOSED)
def test_what_is_not_for_the_world_is_not_there(world: httpx.Client, path: str) -> None:
    """404, from Caddy itself: even that there is a console is nobody's business."""
    answer = world.get(path)

    assert (404, "") == (answer.status_code, answer.text)


def test_inside_sees_everything(compose: Compose) -> None:
    """By way of the port that is published on loopback alone."""
    with httpx.Client(base_url=compose.inside, timeout=40, trust_env=False) as inside:
        metrics = inside.get("/metrics")
        schema = inside.get("/schema/openapi.json")

    assert "seedrouter_messages_accepted_total" in metrics.text
    assert "/api/v1/send-otp" in schema.json()["paths"]


def test_both_api_processes_answer(compose: Compose) -> None:
    """Caddy deals the phones' lines out to both: whoever has fewer open gets the next one."""

    def asked() -> bool:
        return all(figure > 0 for figure in at_each_api(compose, "seedrouter_pings_total"))

    assert wait_for(asked, "phones at both api processes")


def at_each_api(compose: Compose, metric: str) -> list[float]:
    """The sum of a metric at each api process."""
    pages = [httpx.get(f"http://127.0.0.1:{compose.services[name].port}/metrics", timeout=40, trust_env=False).text for name in APIS]
    starts = (f"{metric} ", f"{metric}{{")
    return [sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(starts)) for page in pages]


def test_headers_of_the_world(compose: Compose, world: httpx.Client) -> None:
    """Browsers are told to keep to TLS, nobody is told what runs here, and plain http leads to https."""
    answer = world.get("/health/live")
    plain = httpx.get(f"http://localhost:{compose.http_port}/health/live", timeout=40, trust_env=False)

    assert answer.headers["strict-transport-security"].startswith("max-age=")
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert "server" not in answer.headers
    assert (308, "https://localhost/health/live") == (plain.status_code, plain.headers["location"])


def test_the_api_knows_how_the_client_came(world: httpx.Client, compose: Compose) -> None:
    """Scheme and host are the client's, by Caddy's word; what the client claims itself is nobody's."""
    honest = world.get("/v2/sync/users/somebody")
    forged = world.get("/v2/sync/users/somebody", headers={"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"})

    assert honest.is_success, honest.text
    assert [f"wss://localhost:{compose.https_port}"] * 2 == [answer.text.split("/v2/")[0] for answer in (honest, forged)]


def test_events_flow_through(compose: Compose) -> None:
    """An event reaches a phone at once, and when the phone hangs up, the api hears of it: it is not taken for online."""
    app = App(None, auth=f"Bearer {(compose.secrets / 'mobile_private_token').read_text().strip()}", url=compose.inside)  # type: ignore[arg-type]
    login = (app.account["login"], app.account["password"])
    try:
        app.listen()
        body = {"message": "Hello", "phoneNumbers": ["+213661000333"], "deviceId": app.id}
        answer = httpx.post(f"{compose.inside}/3rdparty/v1/messages", auth=login, json=body, timeout=40, trust_env=False)
        wait_for(lambda: app.heard("MessageEnqueued"), "the event")
        open_before = open_streams(compose)
        app.hang_up()
        wait_for(lambda: open_streams(compose) == open_before - 1, "the api to notice that the phone hung up")
    finally:
        app.close()

    assert 202 == answer.status_code
    assert open_before >= 1


def open_streams(compose: Compose) -> float:
    return sum(at_each_api(compose, "seedrouter_event_streams_open"))


def test_an_api_that_is_told_to_stop_goes_on_for_a_moment(compose: Compose, world: httpx.Client) -> None:
    """It says that it leaves while it still answers; when it has gone, nobody has been refused, and it comes back."""
    api = compose.services["api-2-1"]
    own = f"http://127.0.0.1:{api.port}"
    assert api.process is not None
    before = httpx.get(f"{own}/health/serving", timeout=40, trust_env=False).status_code
    api.process.send_signal(api.signal)
    wait_for(lambda: httpx.get(f"{own}/health/serving", timeout=40, trust_env=False).status_code == 503, "the api to say that it leaves")
    still = httpx.get(f"{own}/health/live", timeout=40, trust_env=False).status_code
    answers: set[int] = set()
    while api.process.poll() is None:
        answers.add(world.post("/api/v1/send-otp", json={"phone": "+213661000222"}).status_code)
    code = api.process.wait(api.grace_seconds)
    api.start()
    api.wait_until_healthy()

    assert (200, 200) == (before, still)
    assert {401} == answers
    assert 0 == code


def test_health_tells_a_role_that_is_not_well(compose: Compose) -> None:
    """The check of a role that does not answer fails, so that it says something."""
    service = compose.add("relay")[0]
    service.process = compose.services["courier-1"].process

    assert not service.is_healthy()
    service.process = None


def test_a_changed_caddyfile_is_loaded_without_a_gap(compose: Compose, world: httpx.Client) -> None:
    """`caddy reload`, as the file says it: those networks see everything from then on, and no request was refused."""
    caddy = compose.services["caddy-1"]
    environment = caddy.environment | {"SEEDROUTER_CONSOLE_NETWORKS": "127.0.0.0/8 ::1/128"}
    words = ["reload", "--config", str(ROOT / "deploy" / "Caddyfile"), "--adapter", "caddyfile"]
    before = world.get("/metrics").status_code
    reloaded = subprocess.run(
        [program_of("caddy"), *words, "--address", environment["SEEDROUTER_CADDY_ADMIN"]], env=environment, capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    wait_for(lambda: world.get("/metrics").status_code == 200, "the console's networks to be others")

    assert 404 == before
    assert 0 == reloaded.returncode, reloaded.stderr
    assert caddy.process is not None
    assert caddy.process.poll() is None


def test_the_caddyfile_by_its_defaults(tmp_path: Path) -> None:
    """As docs/phones.md has it: one api on this machine, and no option that would hold event streams back, or keep those of the gone."""
    command = [program_of("caddy"), "adapt", "--config", str(ROOT / "deploy" / "Caddyfile"), "--adapter", "caddyfile"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SEEDROUTER_NAME": "router.example.org"}
    adapted = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout
    servers = json.loads(adapted)["apps"]["http"]["servers"].values()

    assert {(":443",), ("127.0.0.1:8090",)} == {tuple(server["listen"]) for server in servers}
    assert adapted.count('"dial":"127.0.0.1:8080"') == adapted.count('"handler":"reverse_proxy"') == 3
    assert "flush_interval" not in adapted
    assert '"encode"' not in adapted
    assert '"router.example.org"' in adapted


def test_without_an_api_clients_are_told_to_come_again(tmp_path: Path) -> None:
    """Caddy's own 503 asks for the same as the router's; also where the file is used as docs/phones.md says, by its defaults."""
    with Compose(tmp_path / "compose", {"SEEDROUTER_UPSTREAM": "127.0.0.1:9"}) as alone:
        (caddy,) = alone.add("caddy")
        caddy.environment_over = {"SEEDROUTER_NAME": f"http://127.0.0.1:{alone.http_port}"} | OUTSIDE
        caddy.start()
        wait_for(lambda: _is_up(alone.http_port), "Caddy to listen")
        answer = httpx.get(f"http://127.0.0.1:{alone.http_port}/api/v1/status/x", timeout=20, trust_env=False)
        code = caddy.stop()

    assert (503, "1") == (answer.status_code, answer.headers["retry-after"])
    assert 0 == code


def _is_up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/nothing", timeout=40, trust_env=False).status_code == 404
    except httpx.TransportError:
        return False


def test_prometheus_starts_by_its_command(tmp_path: Path) -> None:
    """Its switches exist, and it takes the configuration that is mounted."""
    require(shutil.which("prometheus"), "prometheus (Debian: apt install prometheus)")
    with Compose(tmp_path / "compose") as alone:
        (prometheus,) = alone.add("prometheus")
        alone.more_arguments["prometheus"] = [f"--web.listen-address=127.0.0.1:{prometheus.port}"]
        prometheus.start(program="prometheus")
        wait_for(lambda: _is_healthy(prometheus.port), f"Prometheus to be healthy: {prometheus.log[-2000:]}")
        taken = httpx.get(f"http://127.0.0.1:{prometheus.port}/api/v1/status/config", timeout=40, trust_env=False).json()["data"]["yaml"]
        code = prometheus.stop()

    assert 0 == code
    assert {"api", "dispatcher", "timekeeper", "courier", "relay"} <= {job["job_name"] for job in yaml.safe_load(taken)["scrape_configs"]}


def _is_healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/-/healthy", timeout=40, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _queues_with(node: rabbitmq.RabbitMQ, name: str) -> str:
    """What rabbitmqctl lists, as soon as this one is there."""
    listed = node.control("list_queues", "-p", "seedrouter", "name", "type")
    return listed if name in listed else ""


@pytest.mark.timeout(300)
def test_the_profile_rabbitmq(tmp_path: Path) -> None:
    """A broker that has the definitions made by `secrets init --rabbitmq` is all that a dispatcher and a relay need."""
    with rabbitmq.running() as node, Compose(tmp_path / "compose", **TIMES) as made:
        made.run("secrets", "init", str(made.secrets), "--rabbitmq")
        node.control("import_definitions", str(made.secrets / "rabbitmq_definitions.json"))
        for name in ("broker_url", "phones_amqp_url"):
            path = made.secrets / name
            path.write_text(path.read_text().replace("@rabbitmq:5672/", f"@127.0.0.1:{node.port}/"))
        redis, dispatcher, relay = made.start("redis", "dispatcher", "relay")
        queues = wait_for(lambda: _queues_with(node, "seedrouter.otp"), "the queues to be made", 60)
        log = wait_for(lambda: relay.log if "relay.starts" in relay.log else "", "the relay to be at work")
        phones = node.control("list_policies", "-p", "phones")
        codes = [service.stop() for service in (relay, dispatcher, redis)]

    assert ["seedrouter.otp\tquorum"] == [line for line in queues.splitlines() if line.startswith("seedrouter.otp")]
    assert "seedrouter.phones.dead" in phones
    assert "no_policy" not in log
    assert "refused" not in log.lower()
    assert [0, 0, 0] == codes


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """No unknown word in them, and what a role can reach is little by systemd's own reckoning (0 is best, 10 is all)."""
    program = require(shutil.which("systemd-analyze"), "systemd-analyze (Debian: apt install systemd)")
    for unit in (ROOT / "deploy" / "systemd").iterdir():
        # Where nothing is installed in /opt, the program is another
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/seedrouter/bin/seedrouter", shutil.which("true") or ""))
    units = ["seedrouter.service", "seedrouter@api.service", "seedrouter.target"]
    shutil.copy(tmp_path / "seedrouter@.service", tmp_path / units[1])
    found = subprocess.run([program, "verify", *units], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    reckon = [program, "security", "--offline=true", "--threshold=20", *units[:2]]
    exposed = subprocess.run(reckon, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert (0, "") == (found.returncode, found.stdout + found.stderr)
    assert 0 == exposed.returncode, exposed.stdout
