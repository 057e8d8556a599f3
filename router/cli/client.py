"""The operator API as the commands call it, and where the running router is."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, urlsplit

import httpx
import msgspec
import orjson

from router.cli.config import load_settings
from router.cli.errors import CliError

if TYPE_CHECKING:
    from router.settings import Settings

RUN_FILE: Final = "run.json"
_TIMEOUT_SECONDS: Final = 30.0
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_URL: Final = "SEEDROUTER_URL"


class Running(msgspec.Struct, frozen=True):
    """What `up` writes to run.json when it is ready, and removes at its end. `metrics`: role → URL."""

    url: str
    pid: int
    metrics: dict[str, str] = {}


class Place(msgspec.Struct, frozen=True):
    """Where a router is, and with which token to ask it. `token_from` says in an error where the token came from."""

    url: str
    token: str
    token_from: str

    def __repr__(self) -> str:
        return f"<Place {self.url}>"


def find_router(data: Path | None, environment: Mapping[str, str], url: str | None = None) -> Place:
    """The router at `url`, or of `--data`, or of SEEDROUTER_URL, or of the default data folder. Raises `CliError`: what to do."""
    settings = load_settings(data=data)
    if url is None and data is None:
        url = environment.get(_URL) or None
    if url is not None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise CliError(f"{url} is not an http:// or https:// URL")
        return _place(url, settings)
    running = read_running(settings.data)
    if running is None:
        raise CliError(
            f"no router is running on {settings.data}: start one with `seedrouter up --data {settings.data}`, or say where it is "
            f"with --data DIR, or with {_URL} and SEEDROUTER_OPERATOR_TOKEN"
        )
    return _place(running.url, settings)


def read_running(data: Path) -> Running | None:
    """What runs on this data folder, if `up` was not killed since. Raises `CliError`."""
    path = data / RUN_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Running)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError:
        raise CliError(f"{path} is broken: remove it, and start the router again") from None


def _place(url: str, settings: "Settings") -> Place:
    given = settings.operator_token.get_secret_value()
    if given:
        return Place(url, given, "SEEDROUTER_OPERATOR_TOKEN")
    from router.secrets import FILE_NAME, load_secrets

    path = settings.data / FILE_NAME
    if not path.exists():
        raise CliError(f"no operator token: set SEEDROUTER_OPERATOR_TOKEN, or point --data to the folder with {FILE_NAME}")
    return Place(url, load_secrets(settings.data, settings.given_secrets()).operator_token, str(path))


class OperatorClient:
    """One command's calls. As a context manager it closes its connections."""

    def __init__(self, place: Place, transport: httpx.BaseTransport | None = None) -> None:
        self.place = place
        self._http = httpx.Client(
            base_url=place.url.rstrip("/") + "/operator/v1",
            headers={"Authorization": f"Bearer {place.token}"},
            timeout=_TIMEOUT_SECONDS,
            transport=transport,
            # A proxy from the environment knows nothing of our own loopback
            trust_env=urlsplit(place.url).hostname not in _LOOPBACK,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """`params` that are None are not sent."""
        return self._call("GET", path, params={name: value for name, value in params.items() if value is not None})

    def post(self, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None) -> Any:
        return self._call("POST", path, content=_encode(body), headers=headers)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("PATCH", path, content=_encode(body))

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("PUT", path, content=_encode(body))

    def delete(self, path: str) -> None:
        self._call("DELETE", path)

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        url = self.place.url
        try:
            answer = self._http.request(method, path, **arguments)
        except httpx.ConnectError as error:
            raise CliError(
                f"nothing answers at {url} ({error}): start the router with `seedrouter up`, or look why it ended"
            ) from None
        except httpx.TimeoutException:
            raise CliError(f"{url} did not answer within {_TIMEOUT_SECONDS:g} s: see its log, and `seedrouter doctor`") from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise CliError(f"{url} cannot be asked: {error or type(error).__name__}") from None
        if answer.is_success:
            return _decode(answer, url) if answer.content else None
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise CliError(
                f"{url} does not take the operator token of {self.place.token_from}: "
                "it is another router's, or SEEDROUTER_OPERATOR_TOKEN was changed since the router started"
            )
        raise CliError(_refusal(answer, url))


def path_of(*parts: str) -> str:
    """A path below `/operator/v1`; what stands in it may be anything but nothing. Raises `CliError`."""
    if any(part in ("", ".", "..") for part in parts):
        raise CliError("an id must not be empty")
    return "/" + "/".join(quote(part, safe="") for part in parts)


def account_id_of(router: OperatorClient, text: str) -> str:
    """The id of an account that was given by its id or its name. Raises `CliError`."""
    if text.startswith("ac_"):
        return text
    found = [account["id"] for account in router.get("/accounts") if account["name"] == text]
    if len(found) == 1:
        return str(found[0])
    raise CliError(f"{len(found) or 'no'} accounts are named {text!r}: give the id (see `seedrouter accounts list`)")


def _encode(body: Mapping[str, Any] | None) -> bytes | None:
    if body is None:
        return None
    try:
        return orjson.dumps({name: value for name, value in body.items() if value is not None})
    except orjson.JSONEncodeError as error:
        raise CliError(f"this cannot be sent: {error}") from None


def _decode(answer: httpx.Response, url: str) -> Any:
    try:
        return orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        raise CliError(f"{url} answers something else than JSON: is it a Seedrouter?") from None


def _refusal(answer: httpx.Response, url: str) -> str:
    try:
        return str(orjson.loads(answer.content)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"{url} answers {answer.status_code} and no reason: is it a Seedrouter?"
