"""docker-compose.yml without docker: each service's command as it is written, with its environment and its signals, as a process here.

What a container would bring along is put in its place: names of services by loopback addresses, paths by folders of the test. Nothing
else of this machine's environment gets in, so that what a service needs has to stand in the file.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from bench.ports import free_port
from tests.conftest import require
from tests.stack import wait_for

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker-compose.yml"
ENTRYPOINT = re.compile(r"^ENTRYPOINT (\[.*\])$", re.MULTILINE)
METRICS_PORTS = {name: f"SEEDROUTER_{name.upper()}_METRICS_PORT" for name in ("dispatcher", "timekeeper", "courier", "relay")}
ROLES = ("api", "api-2", *METRICS_PORTS)
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<kind>:?-)(?P<default>[^}]*)\}")


def read_environment(path: Path) -> dict[str, str]:
    """An env_file, as docker compose reads one without quotes."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def read_compose(environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The file as docker compose sees it: merged as YAML merges, then with its variables put in."""

    def put_in(found: re.Match[str]) -> str:
        value = (environment or {}).get(found["name"])
        return found["default"] if value is None or (not value and found["kind"] == ":-") else value

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(value) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value) for value in node]
        return _VARIABLE.sub(put_in, node) if isinstance(node, str) else node

    return dict(walk(yaml.safe_load(COMPOSE.read_text())))


def image_environment(target: str) -> dict[str, str]:
    """What a stage of the Dockerfile sets, but for where its programs and its home are."""
    stages = re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM |\Z)", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE | re.DOTALL)
    pairs = [pair for line in re.findall(r"^ENV (.*)$", dict(stages)[target], re.MULTILINE) for pair in line.split()]
    return {name: value for name, value in (pair.split("=", 1) for pair in pairs) if name not in ("PATH", "HOME")}


def seconds(duration: str) -> float:
    """`1m30s`, as docker writes it."""
    found = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration)
    assert found, duration
    return 60.0 * int(found[1] or 0) + int(found[2] or 0)


def entrypoint() -> list[str]:
    """What the Dockerfile puts before a role's command: its program is this venv's."""
    found = ENTRYPOINT.findall((ROOT / "deploy" / "Dockerfile").read_text())
    assert len(found) == 1
    program, *arguments = yaml.safe_load(found[0])
    return [program_of(program), *arguments]


def program_of(name: str) -> str:
    return require(shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"), name)


class Service:
    """One container of a service, as a process."""

    def __init__(self, compose: "Compose", name: str, number: int = 1) -> None:
        self.compose = compose
        self.name = name
        self.definition: dict[str, Any] = compose.file["services"][name]
        self.id = f"{name}-{number}"
        self.folder = compose.folder / self.id
        self.folder.mkdir(mode=0o700)
        self.port = free_port()
        """Of the api; of a worker's metrics."""
        self.process: subprocess.Popen[bytes] | None = None
        self.environment_over: dict[str, str] = {}
        self.signal = signal.Signals[self.definition["stop_signal"]]
        self.grace_seconds = seconds(self.definition["stop_grace_period"])

    @property
    def is_role(self) -> bool:
        return self.name in ROLES

    @property
    def environment(self) -> dict[str, str]:
        """The image's first, then env_file, what the file says itself above both; then this machine's places."""
        target = self.definition.get("build", {}).get("target")
        said = image_environment(target) if target else {}
        for path in self.definition.get("env_file", []):
            said |= read_environment(ROOT / path)
        said |= {name: str(value) for name, value in self.definition.get("environment", {}).items()}
        said = {name: self.compose.here(value, self) for name, value in said.items()} | self.compose.more_environment
        if self.is_role:
            said[METRICS_PORTS.get(self.name, "SEEDROUTER_PORT")] = str(self.port)
        if self.name == "caddy":
            said |= self.compose.caddy_ports | self.environment_over
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "TMPDIR": str(self.folder)} | said

    def command(self, words: list[str]) -> list[str]:
        """Where the image has an entrypoint of ours, it comes first."""
        words = [self.compose.here(word, self) for word in words]
        if self.definition.get("build", {}).get("target") == "router":
            return [*entrypoint(), *words]
        return [program_of(words[0]), *words[1:]]

    def start(self, program: str = "") -> None:
        """`program`: what the image begins with, where it is none of ours."""
        words = [program, *self.definition["command"]] if program else self.definition["command"]
        arguments = [*self.command(words), *self.compose.more_arguments.get(self.name, [])]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                arguments, env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self) -> int:
        """As `docker compose stop` does it, but for the kill: fails where that would be needed. Gives the exit code."""
        assert self.process is not None
        self.process.send_signal(self.signal)
        try:
            code = self.process.wait(self.grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.id} would have been killed after {self.grace_seconds:g} s: {self.log[-3000:]}") from None
        self.process = None
        return code

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def is_healthy(self) -> bool:
        """Its own health check, as the file has it, where its program is here."""
        assert self.process is not None
        assert self.process.poll() is None, f"{self.id} ended: {self.log[-3000:]}"
        _, *words = self.definition["healthcheck"]["test"]
        if words[0] == "wget":
            try:
                return httpx.get(self.compose.here(words[-1], self), timeout=20, trust_env=False).is_success
            except httpx.TransportError:
                return False
        command = [self.compose.here(word, self) for word in words]
        if words[0] == "redis-cli":
            command[1:1] = ["-p", str(self.compose.redis_port)]
        command[0] = program_of(command[0])
        done = subprocess.run(command, env=self.environment, capture_output=True, timeout=30, check=False, cwd=self.folder)
        return done.returncode == 0

    def wait_until_healthy(self, within: float = 40.0) -> None:
        wait_for(self.is_healthy, f"{self.id} to be healthy: {self.log[-2000:]}", within)

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""


class Compose:
    """Services in a folder of a test, started and stopped one by one; all that still run are stopped at its end."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None, **more_environment: str) -> None:
        self.folder = folder
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.file = read_compose(environment)
        self.more_environment = more_environment
        """Over what the file says: times that a test can wait for."""
        self.redis_port = free_port()
        self.http_port, self.https_port, self.inside_port = free_port(), free_port(), free_port()
        self.caddy_ports = {
            "SEEDROUTER_HTTP_PORT": str(self.http_port), "SEEDROUTER_HTTPS_PORT": str(self.https_port),
            "SEEDROUTER_INSIDE_PORT": str(self.inside_port), "SEEDROUTER_CADDY_ADMIN": f"127.0.0.1:{free_port()}",
        }  # fmt: skip
        self.more_arguments = {"redis": ["--port", str(self.redis_port), "--bind", "127.0.0.1"]}
        self.secrets = folder / "secrets"
        self.services: dict[str, Service] = {}
        self.run("secrets", "init", str(self.secrets))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for service in reversed(self.services.values()):
            if service.process is not None and service.process.poll() is None:
                service.process.send_signal(service.signal)
        for service in reversed(self.services.values()):
            if service.process is not None:
                try:
                    service.process.wait(service.grace_seconds)
                except subprocess.TimeoutExpired:
                    service.kill()

    def run(self, *words: str, **environment: str) -> str:
        """A command of ours, as `docker compose run` would; it must succeed."""
        done = subprocess.run(
            [*entrypoint(), *words], env={"PATH": os.environ["PATH"], "HOME": str(self.folder)} | environment,
            capture_output=True, text=True, timeout=60, check=False, cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
        return done.stdout

    def add(self, *names: str) -> list[Service]:
        """One process for each name; a name may come twice."""
        made = []
        for name in names:
            service = Service(self, name, 1 + sum(service.name == name for service in self.services.values()))
            self.services[service.id] = service
            made.append(service)
        return made

    def start(self, *names: str) -> list[Service]:
        """Adds, starts, and waits for the health checks, in this order."""
        made = self.add(*names)
        for service in made:
            service.start()
            if "healthcheck" in service.definition:
                service.wait_until_healthy()
        return made

    def here(self, word: str, service: Service) -> str:
        """What a word of the file means on this machine."""
        if word == "0.0.0.0":
            return "127.0.0.1"
        if word in ("/data", "/tmp") or word.startswith("/tmp/"):
            place = service.folder / Path(word).name
            if word == "/data":
                place.mkdir(exist_ok=True)
            return str(place)
        api = [f"127.0.0.1:{found.port}" for found in self.services.values() if found.name in ("api", "api-2")]
        places = {
            "api-1:8080 api-2:8080": " ".join(api),
            "api-1:8080": next(iter(api), ""),
            "caddy:8090": f"127.0.0.1:{self.inside_port}",
            "127.0.0.1:8090": f"127.0.0.1:{self.inside_port}",
            "redis:6379": f"127.0.0.1:{self.redis_port}",
            "/run/secrets": str(self.secrets),
            "/etc/caddy/": f"{ROOT}/deploy/",
            "/var/lib/caddy": str(service.folder),
            "172.30.250.0/24": "127.0.0.0/8",
            "=/etc/prometheus/": f"={ROOT}/deploy/prometheus/",
            "=/prometheus": f"={service.folder}/data",
        }
        for there, here in places.items():
            word = word.replace(there, here)
        return word

    @property
    def inside(self) -> str:
        """Everything, by way of Caddy."""
        return f"http://127.0.0.1:{self.inside_port}"

    def operator(self, method: str, path: str, body: object = None) -> Any:
        """A call of the operator API, by way of Caddy, that must succeed."""
        headers = {"Authorization": f"Bearer {self.operator_token}"}
        answer = httpx.request(method, f"{self.inside}/operator/v1{path}", json=body, headers=headers, timeout=30, trust_env=False)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    @property
    def operator_token(self) -> str:
        return (self.secrets / "operator_token").read_text().strip()
