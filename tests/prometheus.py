"""A real Prometheus on a free port of loopback, which scrapes as deploy/prometheus/ has it, only each second."""

import contextlib
import math
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from bench.ports import free_port
from tests.conftest import require
from tests.stack import wait_for

DEPLOYED = Path(__file__).parents[1] / "deploy" / "prometheus"


def binary() -> str:
    """Debian's, as everything here is tried on it."""
    return require(shutil.which("prometheus"), "prometheus (Debian: apt install prometheus)")


class Prometheus:
    """`targets`: ports of this machine by the job's name."""

    def __init__(self, folder: Path, targets: Mapping[str, Sequence[int]]) -> None:
        self._folder = folder
        self._port = free_port()
        self._config = folder / "prometheus.yml"
        self._config.write_text(yaml.safe_dump(configuration(targets, self._port)))
        self._process: subprocess.Popen[bytes] | None = None
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=20.0, trust_env=False)

    def __enter__(self) -> Self:
        with (self._folder / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    binary(), f"--config.file={self._config}", f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}", "--storage.tsdb.retention.time=1d",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_for(self._is_ready, f"Prometheus (log: {self.log[-2000:]})")
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)

    @property
    def log(self) -> str:
        return (self._folder / "prometheus.log").read_text(errors="replace")

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log[-2000:]
        with contextlib.suppress(httpx.TransportError):
            return self._http.get("/-/ready").status_code == 200
        return False

    def query(self, expression: str) -> list[float]:
        """The values of an expression now, one per series; none where it is empty. Fails the test where it is not valid."""
        answer = self._http.post("/api/v1/query", data={"query": expression})
        assert answer.is_success, f"{expression}: {answer.text}"
        found = answer.json()["data"]
        samples = [found["result"]] if found["resultType"] == "scalar" else [series["value"] for series in found["result"]]
        return [float(value) for _, value in samples]

    def value(self, expression: str) -> float:
        """Of an expression with one series at the most; not a number where it is empty."""
        found = self.query(expression)
        assert len(found) <= 1, f"{expression}: {found}"
        return found[0] if found else math.nan

    def tells(self, expression: str) -> bool:
        """Does it return data: at least one number?"""
        return any(map(math.isfinite, self.query(expression)))

    def down(self) -> list[str]:
        """The jobs with a target that does not answer, or was not asked yet."""
        targets: list[dict[str, Any]] = self._http.get("/api/v1/targets").json()["data"]["activeTargets"]
        return [f"{target['scrapePool']}: {target['lastError']}" for target in targets if target["health"] != "up"]

    def unwell_rules(self) -> list[str]:
        """Rules that could not be evaluated, and what Prometheus says of them."""
        groups = self._http.get("/api/v1/rules").json()["data"]["groups"]
        return [f"{rule['name']}: {rule.get('lastError')}" for group in groups for rule in group["rules"] if rule["health"] == "err"]


def configuration(targets: Mapping[str, Sequence[int]], port: int) -> dict[str, Any]:
    """What is deployed, with ports of this machine for names in DNS, and each second instead of each quarter of a minute."""
    config: dict[str, Any] = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(DEPLOYED / pattern) for pattern in config["rule_files"]]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert targets.keys() <= jobs.keys(), f"no such jobs: {targets.keys() - jobs.keys()}"
    for name, job in jobs.items():
        for key in [key for key in job if key.endswith("_sd_configs")]:
            del job[key]
        ports = [port] if name == "prometheus" else targets.get(name, ())
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
    return config


@contextlib.contextmanager
def scraping(folder: Path, targets: Mapping[str, Sequence[int]]) -> Iterator[Prometheus]:
    """A Prometheus that has every target."""
    with Prometheus(folder, targets) as prometheus:
        wait_for(lambda: not prometheus.down(), "every target to answer")
        yield prometheus
