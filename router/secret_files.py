"""The secrets of roles that run apart, as files in a folder (`SEEDROUTER_SECRETS_DIR`): for docker-compose and systemd.

Beside our own there is Grafana's password, and for RabbitMQ what it is to have when it starts: users, virtual hosts and the policy for
queues of phones (docs/amqp-phones.md).
"""

import base64
import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from router.data_folder import make_private
from router.secrets import Secrets, load_secrets, make_secrets

GRAFANA = "grafana_password"
DEFINITIONS = "rabbitmq_definitions.json"
_RABBITMQ_HOST = "rabbitmq:5672"
_PHONES_POLICY = {
    "dead-letter-exchange": "", "dead-letter-routing-key": "seedrouter.phones.dead", "dead-letter-strategy": "at-least-once",
    "overflow": "reject-publish", "delivery-limit": 0,
}  # fmt: skip


def write_secret_files(folder: Path, *, data: Path | None = None, rabbitmq: bool = False) -> list[str]:
    """Makes what is not there yet, each file with mode 600, and gives the names of those made. What is there stays as it is.

    `data` is a data folder whose secrets go on being used. Raises `SecretsInvalid` for a value that cannot be used, OSError.
    """
    make_private(folder)
    made: list[str] = []

    def write(name: str, value: str) -> None:
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(value if value.endswith("\n") else f"{value}\n")
        made.append(name)

    known = {name: (folder / name).read_text().strip() for name in Secrets.__struct_fields__ if (folder / name).exists()}
    for name, value in msgspec.structs.asdict(load_secrets(data, known) if data else make_secrets(known)).items():
        if name not in known:
            write(name, value)
    if not (folder / GRAFANA).exists():
        write(GRAFANA, secrets.token_urlsafe(24))
    if rabbitmq and not (folder / DEFINITIONS).exists():
        passwords = {"seedrouter": secrets.token_urlsafe(32), "relay": secrets.token_urlsafe(32)}
        write("broker_url", f"amqp://seedrouter:{passwords['seedrouter']}@{_RABBITMQ_HOST}/seedrouter")
        write("phones_amqp_url", f"amqp://relay:{passwords['relay']}@{_RABBITMQ_HOST}/phones")
        write(DEFINITIONS, msgspec.json.format(msgspec.json.encode(rabbitmq_definitions(passwords))).decode())
    return made


def rabbitmq_definitions(passwords: Mapping[str, str]) -> dict[str, Any]:
    """What a RabbitMQ of ours is to have at its start (`load_definitions`): a virtual host for the queue and one for phones, their users
    (`passwords`, in the clear, by name) with rights to our own queues only, and the policy for queues of phones.
    """
    rights = {
        "seedrouter": ("seedrouter", r"^(seedrouter\.|inbound$)", r"^(seedrouter\.|inbound$|amq\.default$)", r"^(seedrouter\.|inbound$)"),
        "relay": ("phones", "^seedrouter", r"^(seedrouter|amq\.default$)", "^seedrouter"),
    }
    return {
        "vhosts": [
            {"name": "seedrouter"},
            {"name": "phones", "default_queue_type": "quorum", "metadata": {"description": "", "tags": [], "default_queue_type": "quorum"}},
        ],
        "users": [
            {"name": name, "password_hash": rabbitmq_hash(password), "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": []}
            for name, password in passwords.items()
        ],
        "permissions": [
            {"user": user, "vhost": vhost, "configure": configure, "write": write, "read": read}
            for user, (vhost, configure, write, read) in rights.items()
        ],
        "policies": [
            {
                "vhost": "phones", "name": "phones", "pattern": "^seedrouter[A-Za-z0-9-]*_", "apply-to": "queues", "priority": 0,
                "definition": _PHONES_POLICY,
            },
        ],
    }  # fmt: skip


def rabbitmq_hash(password: str) -> str:
    """As RabbitMQ keeps a password: base64 of a salt of 4 bytes and SHA-256 over salt and password."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
