"""What browsers are told: anybody's page may read what these GETs answer."""

from typing import Final

PUBLIC: Final = {"Access-Control-Allow-Origin": "*"}
PREFLIGHT: Final = PUBLIC | {
    "Access-Control-Allow-Methods": "GET",
    "Access-Control-Allow-Headers": "Content-Type",
    "Access-Control-Max-Age": "86400",
}
"""Of the answer to OPTIONS: a browser asks first, since the guide's GETs carry a Content-Type."""
