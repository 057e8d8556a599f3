"""A whole router to break."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.up import Up


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    router = Up(tmp_path / "data")
    try:
        yield router
    finally:
        if router.process.poll() is None:
            router.stop()
