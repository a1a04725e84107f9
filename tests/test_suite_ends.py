"""The suite ends whatever a test does, tells which test it was, and runs the others."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent
BAD = {
    "crash": "import os\ndef test_crashes(): os.abort()",
    "hang": "import time\ndef test_hangs(): time.sleep(9999)",
    "leave": "import pytest, time\n@pytest.fixture\ndef left(): yield; time.sleep(9999)\ndef test_leaves(left): pass",
    "deaf": "import collections, itertools\ndef test_deaf(): collections.deque(itertools.repeat(0), maxlen=0)",
}
GOOD = "import pytest\n@pytest.mark.parametrize('number', range(5))\ndef test_good(number): pass\n"


@pytest.mark.slow  # half a minute, for workers that start anew
def test_crashed_and_hung_tests_fail_and_the_others_run(tmp_path: Path) -> None:
    """With the options of `make test`, but seconds instead of minutes."""
    for name, bad in BAD.items():
        (tmp_path / f"test_{name}.py").write_text(bad + "\n" + GOOD)
    options = re.search("^PYTEST := (.*)$", (HOME / "Makefile").read_text(), re.MULTILINE)
    assert options is not None
    command = [sys.executable, *shlex.split(options[1]), "-n", "2", "-c", str(HOME / "pyproject.toml")]
    limits = ["-o", "timeout=4", "-o", "faulthandler_timeout=10", "--rootdir", str(tmp_path), str(tmp_path)]
    ended = subprocess.run([*command, *limits], capture_output=True, text=True, timeout=230)
    failed = set(re.findall(r"^(?:FAILED|ERROR) \S*::(\w+)", ended.stdout, re.MULTILINE))
    assert failed == {"test_crashes", "test_hangs", "test_leaves", "test_deaf"}, ended.stdout
    assert ended.stdout.count("crashed while running") >= 2
    assert " 21 passed" in ended.stdout
