"""The files of the console: other people's as they were published, ours as a browser may keep them."""

import hashlib
import json
import re

import pytest

from router.api.console.static import _FILES, _FOLDER, VERSION, url_of

VENDOR = _FOLDER / "vendor"
MANIFEST = json.loads((VENDOR / "manifest.json").read_text())


@pytest.mark.parametrize("package", MANIFEST["packages"], ids=lambda package: package["name"])
def test_vendored_files_are_the_published_ones(package: dict[str, dict[str, dict[str, str]]]) -> None:
    """Each file has the checksum that was noted when it came, and its licence beside it."""
    found = {name: hashlib.sha512((VENDOR / name).read_bytes()).hexdigest() for name in package["files"]}

    assert {name: noted["sha512"] for name, noted in package["files"].items()} == found
    assert 1 == sum(name.endswith("/LICENSE") for name in found)


def test_nothing_else_is_vendored() -> None:
    """No file is there that the manifest does not name."""
    named = {name for package in MANIFEST["packages"] for name in package["files"]}
    there = {path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*") if path.is_file()}

    assert named | {"README.md", "manifest.json"} == there


def test_versions_stand_in_the_files() -> None:
    """The manifest's versions are those that the scripts say of themselves."""
    versions = {package["name"]: package["version"] for package in MANIFEST["packages"]}

    assert f'version:"{versions["htmx.org"]}"' in (VENDOR / "htmx/htmx.min.js").read_text()
    assert f"uPlot (v{versions['uplot']})" in (VENDOR / "uplot/uPlot.iife.min.js").read_text()


def test_address_follows_the_content() -> None:
    """Scripts, styles and pictures are served, nothing else is; their address has a hash in it."""
    assert f"/console/static/{VERSION}/console.css" == url_of("console.css")
    assert re.fullmatch("[0-9a-f]{12}", VERSION)
    assert {"css", "js", "svg"} == {name.rpartition(".")[2] for name in _FILES}
    with pytest.raises(KeyError):
        url_of("vendor/manifest.json")


@pytest.mark.parametrize("name", sorted(name for name in _FILES if not name.startswith("vendor/")))
def test_own_files_ask_no_other_host(name: str) -> None:
    """Our scripts and styles name no other host, and have nothing that the pages' policy refuses."""
    text = _FILES[name].decode().replace("http://www.w3.org/2000/svg", "")

    assert not re.search(r"https?:|//[a-z]+\.[a-z]|@import|\beval\(|new Function|innerHTML\s*=", text)


@pytest.mark.parametrize("path", sorted((_FOLDER.parent / "templates").glob("*.html")), ids=lambda path: path.name)
def test_pages_have_nothing_inline(path: object) -> None:
    """No template has a script, a style or a handler inline, or asks another host: the pages' policy would refuse it."""
    text = path.read_text()  # type: ignore[attr-defined]

    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|hx-on|javascript:", text)
    assert not re.search(r"""(src|href|action)=["']?(https?:)?//""", text)
    assert "| safe" not in text
