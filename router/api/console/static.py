"""Style, scripts and the vendored libraries, from the package. Their addresses bear a hash of them all, so browsers may keep them."""

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Final

from litestar import Response, get

from router.api.console.security import PREFIX
from router.domain.errors import NotFound

_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_FOLDER: Final = Path(str(files("router.api.console"))) / "static"
_FILES: Final = {
    path.relative_to(_FOLDER).as_posix(): path.read_bytes() for path in sorted(_FOLDER.rglob("*")) if path.suffix in _TYPES
}
VERSION: Final = hashlib.sha256(b"".join(name.encode() + hashlib.sha256(_FILES[name]).digest() for name in _FILES)).hexdigest()[:12]


def url_of(name: str) -> str:
    """Where a file is, `vendor/htmx.min.js` for one. Raises KeyError."""
    if name not in _FILES:
        raise KeyError(name)
    return f"{PREFIX}/static/{VERSION}/{name}"


@get("/static/{version:str}/{path:path}")
async def file(version: str, path: str) -> "Response[bytes]":
    """One of them. Another version's address may be asked for while api processes are replaced: what comes then is not to be kept."""
    name = path.lstrip("/")
    content = _FILES.get(name)
    if content is None:
        raise NotFound("no such file")
    headers = {
        "Content-Type": _TYPES[Path(name).suffix],
        "Cache-Control": "public, max-age=31536000, immutable" if version == VERSION else "no-store",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        # An SVG is a document of its own where somebody opens it
        "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'",
    }
    return Response(content, headers=headers)


HANDLERS = [file]
