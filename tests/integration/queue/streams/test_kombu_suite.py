"""kombu's own tests of virtual transports and of real brokers, run against this transport."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import kombu

from tests import servers
from tests.conftest import require
from tests.integration.queue.streams.kombu_suite.not_applicable import NOT_APPLICABLE

ROOT = Path(__file__).parents[4]
SUITE = Path(__file__).with_name("kombu_suite")
FILES = ["t/unit/transport/virtual/test_base.py", "t/unit/transport/virtual/test_exchange.py", "t/unit/transport/test_memory.py"]
EXPECTED = 154
"""How many pass with kombu 5.7.0, parameters counted. A later version may have more, never less."""


def test_kombus_own_tests(tmp_path: Path) -> None:
    """All that apply pass, on a Redis of their own; those that do not are listed with the reason, and are there."""
    found = Path(sys.prefix, f"kombu-{kombu.__version__}")
    source = require(found if (found / "t").is_dir() else None, f"the tests of kombu {kombu.__version__} (make test fetches them)")
    report = tmp_path / "report.xml"
    with servers.single() as server:
        done = subprocess.run(
            [
                sys.executable, "-P", "-m", "pytest", "-q", "--timeout=60", "-p", "no:cacheprovider",
                "-c", os.devnull, f"--rootdir={source}",
                "-o", "python_classes=test_* Test*", "-p", f"{__package__}.kombu_suite.plugin", f"--junitxml={report}",
                *(str(source / file) for file in FILES), str(SUITE / "cases.py"),
            ],
            cwd=source, env=os.environ | {"PYTHONPATH": f"{ROOT}:{source}", "STREAMS_URL": server.url}, capture_output=True, text=True,
            timeout=170, check=False,
        )  # fmt: skip

    assert 0 == done.returncode, done.stdout[-5000:] + done.stderr[-2000:]
    suite = next(ET.parse(report).iter("testsuite"))
    ran, failed, errors, skipped = (int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped"))
    assert (0, 0, 0) == (failed, errors, skipped)
    assert ran >= EXPECTED
    assert f"{ran} passed" in done.stdout
    assert all(NOT_APPLICABLE.values())
