"""Secrets as files: made once, private, read as settings; and what a role says where they are missing."""

import base64
import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from router.cli.config import load_all_secrets, load_settings, sources_of
from router.cli.errors import CliError
from router.cli.health import last_run
from router.secret_files import DEFINITIONS, GRAFANA, rabbitmq_hash, write_secret_files
from router.secrets import Secrets, SecretsInvalid, load_secrets
from router.settings import Settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "secrets"


def test_made_once_and_private(folder: Path) -> None:
    """A second call makes nothing and changes nothing."""
    made = write_secret_files(folder)
    before = {path.name: path.read_text() for path in folder.iterdir()}
    again = write_secret_files(folder)

    assert {*Secrets.__struct_fields__, GRAFANA} == set(made)
    assert [] == again
    assert before == {path.name: path.read_text() for path in folder.iterdir()}
    assert {0o600} == {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert 0o700 == folder.stat().st_mode & 0o777


def test_what_is_there_stays(folder: Path) -> None:
    """A lost one is made anew, the others go on being used; one that cannot be used is named."""
    write_secret_files(folder)
    seal_key = (folder / "seal_key").read_text()
    (folder / "jwt_secret").unlink()
    made = write_secret_files(folder)
    (folder / "seal_key").write_text("short")

    assert ["jwt_secret"] == made
    assert 64 == len(seal_key.strip())
    with pytest.raises(SecretsInvalid, match="seal_key"):
        write_secret_files(folder)


def test_those_of_a_data_folder_go_on(folder: Path, tmp_path: Path) -> None:
    """From `up` to roles that run apart: the texts that wait can still be opened."""
    data = tmp_path / "data"
    secrets = load_secrets(data, {})
    write_secret_files(folder, data=data)
    settings = Settings(secrets_dir=str(folder))

    taken = msgspec.structs.asdict(load_secrets(tmp_path / "elsewhere", settings.given_secrets(), make=False))

    assert {name: value.strip() for name, value in msgspec.structs.asdict(secrets).items()} == taken


def test_files_are_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any setting may be a file, what the environment says stands above it, and `settings` tells where it came from."""
    write_secret_files(folder, rabbitmq=True)
    (folder / "redis_url").write_text("redis://:password@example/0\n")
    monkeypatch.setenv("SEEDROUTER_SECRETS_DIR", str(folder))
    monkeypatch.setenv("SEEDROUTER_BROKER_URL", "redis://other/0")
    settings = load_settings()
    sources = sources_of(settings, {"SEEDROUTER_BROKER_URL": ""}, {})

    assert ("redis://:password@example/0", "redis://other/0") == (settings.redis_url, settings.broker_url)
    assert settings.phones_amqp_url.endswith("@rabbitmq:5672/phones")
    assert ("secrets_dir", "environment", "default") == (sources["redis_url"], sources["broker_url"], sources["port"])
    assert (folder / "operator_token").read_text().strip() == settings.operator_token.get_secret_value()


def test_a_role_never_makes_its_own(folder: Path, tmp_path: Path) -> None:
    """Two containers would each seal with another key: what is missing is named, and so is a folder that is not there."""
    write_secret_files(folder)
    (folder / "seal_key").unlink()
    settings = load_settings(secrets_dir=str(folder), data=tmp_path / "data")

    with pytest.raises(CliError, match="seal_key"):
        load_all_secrets(settings)
    with pytest.raises(CliError, match="there is no folder"):
        load_settings(secrets_dir=str(tmp_path / "nowhere"))
    assert not (tmp_path / "data").exists()


def test_rabbitmq_knows_the_passwords_of_the_urls(folder: Path) -> None:
    """Salted, as RabbitMQ keeps them; the clear ones stand in the URLs alone."""
    write_secret_files(folder, rabbitmq=True)
    users = {user["name"]: user["password_hash"] for user in json.loads((folder / DEFINITIONS).read_text())["users"]}
    passwords = {
        (url := (folder / name).read_text()).split("://")[1].split(":")[0]: url.split(":")[2].split("@")[0]
        for name in ("broker_url", "phones_amqp_url")
    }

    assert set(users) == set(passwords) == {"seedrouter", "relay"}
    for name, password in passwords.items():
        raw = base64.b64decode(users[name])
        assert raw[4:] == hashlib.sha256(raw[:4] + password.encode()).digest()
    assert rabbitmq_hash("x") != rabbitmq_hash("x")


def test_when_a_role_went_round() -> None:
    """From the text of its metrics; never is 0."""
    name = "seedrouter_last_run_timestamp_seconds"
    text = f'{name}{{role="courier"}} 0.0\n{name}{{role="dispatcher"}} 1.7952e+09\n'

    assert [1.7952e9, 0.0, 0.0] == [last_run(text, role) for role in ("dispatcher", "courier", "relay")]
