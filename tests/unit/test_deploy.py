"""What stands in docker-compose.yml, the Dockerfile, the locks and the systemd units, held against each other and against the code."""

import json
import re
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from router.secrets import Secrets
from router.settings import Settings
from tests.compose import COMPOSE, ROLES, ROOT, read_compose, read_environment, seconds

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
EXAMPLE = read_environment(ROOT / ".env.example")
SERVICES: dict[str, dict[str, Any]] = read_compose()["services"]
VARIABLES = dict(re.findall(r"\$\{(\w+):?-([^}]*)\}", COMPOSE.read_text()))
SETTINGS = {f"SEEDROUTER_{name.upper()}" for name in Settings.model_fields}
FOR_COMMANDS = {"SEEDROUTER_URL"}
IN_THE_CADDYFILE = set(re.findall(r"\{\$(\w+)", (DEPLOY / "Caddyfile").read_text()))

pinned = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)(?: ; [^\\]+)? \\$", re.MULTILINE)


def versions(lock: str) -> dict[str, Version]:
    return {name: Version(version) for name, version in pinned.findall((DEPLOY / lock).read_text())}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened(name: str) -> None:
    """No root, no writable image, no privilege, no way to eat the machine; it comes back by itself, and its log does not grow for ever."""
    service = SERVICES[name]
    user, _, group = str(service.get("user", "1000:1000")).partition(":")  # Caddy's is the image's: see the Dockerfile

    assert user not in ("0", "root", "")
    assert group
    assert service["read_only"] is True
    assert ["ALL"] == service["cap_drop"]
    assert ["no-new-privileges:true"] == service["security_opt"]
    assert "unless-stopped" == service["restart"]
    assert {"max-size", "max-file"} == set(service["logging"]["options"])
    assert service["mem_limit"]
    assert service["cpus"]
    assert name == "phones" or service["healthcheck"]["test"][0] == "CMD"
    assert "privileged" not in service
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))


def test_images_are_pinned() -> None:
    """By a version, in docker-compose.yml and in the Dockerfile."""
    images = [service["image"] for service in SERVICES.values()] + re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)

    assert [] == [image for image in images if not re.search(r":v?\d+\.\d+\.\d+(-[a-z-]+)?$", image)]


def test_ours_has_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert {f"seedrouter:{version}", f"seedrouter-proxy:{version}"} == {
        service["image"] for service in SERVICES.values() if "build" in service
    }


def test_roles_run_as_the_user_of_the_image() -> None:
    """And their build targets are stages of the Dockerfile; no compiler is in what is run."""
    stages = dict(re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL))
    targets = {service["build"]["target"] for service in SERVICES.values() if "build" in service}

    assert targets | {"build"} == set(stages)
    assert {"10001:10001"} == {SERVICES[role]["user"] for role in ROLES}
    assert "USER 10001:10001" in stages["router"]
    assert "USER 1000:1000" in stages["proxy"]
    assert "apt-get" in stages["build"]
    assert "apt-get" not in stages["router"] + stages["proxy"]
    assert 'ENTRYPOINT ["seedrouter"]' in stages["router"]


def test_only_caddy_is_open_to_the_world() -> None:
    """Redis and RabbitMQ have no way in or out; Prometheus and Grafana are on loopback."""
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    networks = read_compose()["networks"]

    assert {"caddy", "prometheus", "grafana"} == set(ports)
    assert all(port.startswith("127.0.0.1:") for name in ("prometheus", "grafana") for port in ports[name])
    assert ["80:8080", "443:8443"] == [port for port in ports["caddy"] if not port.startswith("127.0.0.1:")]
    assert {"store", "edge", "watch"} == {name for name, network in networks.items() if network and network.get("internal")}
    assert [["store"], ["store"]] == [SERVICES[name]["networks"] for name in ("redis", "rabbitmq")]
    assert {"caddy", "courier", "prometheus", "grafana"} == {name for name, service in SERVICES.items() if "outside" in service["networks"]}


def test_grace_periods_are_longer_than_what_the_roles_take() -> None:
    """A role may take `stop_grace_seconds`; docker kills after stop_grace_period."""
    for name in ROLES:
        said = SERVICES[name]["environment"]
        takes = float(said["SEEDROUTER_STOP_GRACE_SECONDS"]) + float(said["SEEDROUTER_DRAIN_SECONDS"])

        assert seconds(SERVICES[name]["stop_grace_period"]) >= takes + 5
    assert "grace_period 10s" in (DEPLOY / "Caddyfile").read_text()
    assert seconds(SERVICES["caddy"]["stop_grace_period"]) > 10


def test_the_example_has_every_knob_with_its_default() -> None:
    """Of docker-compose.yml; and nothing in it is unknown to both the file and the settings."""
    own = {"SEEDROUTER_ENV_FILE", "SEEDROUTER_PROXY_IMAGE"}

    assert {name: default for name, default in VARIABLES.items() if name not in own} == {
        name: EXAMPLE.get(name) for name in VARIABLES if name not in own
    }
    assert (".env.example", ".env") == (VARIABLES["SEEDROUTER_ENV_FILE"], EXAMPLE["SEEDROUTER_ENV_FILE"])
    assert set(EXAMPLE) <= set(VARIABLES) | SETTINGS | {"COMPOSE_PROFILES"}


def test_what_the_file_sets_is_read_by_somebody() -> None:
    """A misspelt setting would be passed over without a word."""
    for name in (*ROLES, "phones"):
        said = {word for word in SERVICES[name]["environment"] if word.startswith("SEEDROUTER_")}

        assert said <= SETTINGS | FOR_COMMANDS
    assert {word for word in SERVICES["caddy"]["environment"] if word.startswith("SEEDROUTER_")} <= IN_THE_CADDYFILE
    assert Settings(_env_file=ROOT / ".env.example").redis_url == EXAMPLE["SEEDROUTER_REDIS_URL"]


def test_what_is_mounted_is_there() -> None:
    """Docker would make an empty folder of what is not."""
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    sources = [volume.split(":")[0] if isinstance(volume, str) else volume["source"] for volume in volumes]
    ours = {source for source in sources if source.startswith("./") and not source.startswith("./secrets")}

    assert ours >= {"./deploy", "./deploy/prometheus", "./deploy/grafana/provisioning", "./deploy/grafana/json"}
    assert [] == [source for source in sorted(ours) if not (ROOT / source).exists()]
    assert {source for source in sources if not source.startswith("./")} == set(read_compose()["volumes"])


def test_the_image_is_built_from_what_it_needs() -> None:
    """Everything that the Dockerfile copies is let through by .dockerignore, and secrets and data are not."""
    let_through = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]]

    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()
    assert [] == [word for word in copied if word not in let_through and not (word.endswith(".lock") and "deploy/*.lock" in let_through)]
    assert [] == [word for word in copied if not (ROOT / word).exists()]


def test_the_lock_has_what_the_project_asks_for() -> None:
    """In versions that fit, each package with hashes. What these ask for themselves `pip check` looks at, when the image is built."""
    locked = versions("requirements.lock")
    blocks = re.split(r"^(?=[a-z0-9])", (DEPLOY / "requirements.lock").read_text(), flags=re.MULTILINE)[1:]
    asked = [Requirement(word) for word in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]]

    assert [] == [str(one) for one in asked if one.name not in locked or not one.specifier.contains(locked[one.name])]
    assert len(locked) == len(blocks)
    assert [] == [block for block in blocks if "--hash=sha256:" not in block]
    assert "pip check" in DOCKERFILE


def test_what_builds_is_locked() -> None:
    needed = [Requirement(word) for word in tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]]

    assert all(requirement.specifier.contains(versions("build.lock")[requirement.name]) for requirement in needed)


def test_the_dockerfile_installs_by_hashes_alone() -> None:
    """From the locks, and our own wheel without looking anywhere."""
    installs = re.findall(r"pip (?:install|wheel) (.*?)(?: \\| &&|$)", DOCKERFILE, re.MULTILINE)

    assert 4 == len(installs)
    assert all("--require-hashes" in words or "--no-deps" in words for words in installs)


def test_definitions_for_rabbitmq_have_the_policy_of_the_page() -> None:
    """docs/amqp-phones.md says it in rabbitmqctl's words."""
    from router.secret_files import rabbitmq_definitions

    page = (ROOT / "docs" / "amqp-phones.md").read_text()
    (policy,) = rabbitmq_definitions({"seedrouter": "a", "relay": "b"})["policies"]
    said = re.search(r"set_policy -p phones --apply-to queues phones '([^']+)' '([^']+)'", page)

    assert said is not None
    assert (said[1], json.loads(said[2])) == (policy["pattern"], policy["definition"])


def test_units_run_what_there_is() -> None:
    """Each role that the target names is a command, and its unit is given the secrets that all roles need."""
    unit, target = ((DEPLOY / "systemd" / name).read_text() for name in ("seedrouter@.service", "seedrouter.target"))
    given = dict(re.findall(r"^LoadCredential=(\w+):/etc/seedrouter/secrets/(\w+)$", unit, re.MULTILINE))
    grace = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)

    assert {name: name for name in Secrets.__struct_fields__} == given
    assert set(ROLES) - {"api-2", "relay"} == set(re.findall(r"seedrouter@(\w+)\.service", target))
    assert [Settings.model_fields["stop_grace_seconds"].default + 10] == [float(found) for found in grace]
