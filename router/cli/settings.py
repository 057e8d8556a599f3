"""`settings`: every setting, its value and where it came from."""

import os
from typing import TYPE_CHECKING, Any

from router.cli.options import Json, OwnData
from router.cli.output import print_json, print_table

if TYPE_CHECKING:
    from router.settings import Settings

_SECRET = "***"  # noqa: S105 - what is shown instead of one


def settings(data: OwnData = None, as_json: Json = False) -> None:
    """Print every setting with its value, where it came from, and what it is for. Secrets are not shown."""
    from dotenv import dotenv_values

    from router.cli.config import PREFIX, load_settings, sources_of

    loaded = load_settings(data=data)
    sources = sources_of(loaded, os.environ, dotenv_values(".env"))
    if data is not None:
        sources["data"] = "command line"
    rows = [
        {
            "name": PREFIX + name.upper(),
            "value": _shown(loaded, name),
            "source": sources[name],
            "description": field.description or "",
        }
        for name, field in type(loaded).model_fields.items()
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(("setting", "value", "from", "description"), [tuple(row.values()) for row in rows])


def _shown(loaded: "Settings", name: str) -> Any:
    from pydantic import SecretStr

    from router.cli.config import without_password

    value = getattr(loaded, name)
    if isinstance(value, SecretStr):
        return _SECRET if value.get_secret_value() else ""
    if name.endswith("_url"):
        return without_password(value)
    return value if isinstance(value, (bool, int, float)) else str(value)
