"""What the forms of seeds have in common."""

from collections.abc import Mapping

from router.api.console.inputs import whole_of
from router.domain.seed import Quota

WINDOWS = Quota.__struct_fields__


def quota_of(fields: Mapping[str, str]) -> Quota:
    """A seed's limits; empty = the router's setting, 0 = no limit. Raises `Invalid`."""
    return Quota(**{name: whole_of(name, fields.get(name, "")) for name in WINDOWS})
