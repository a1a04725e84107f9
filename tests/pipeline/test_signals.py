"""A command that is stopped: by whom, and what it says."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

COMMAND = """
import time, typer
from pipeline.errors import one_line_errors

def command():
    with one_line_errors():
        print("ready", flush=True)
        for _ in range(1200):
            time.sleep(0.05)  # a signal just before a sleep is only noticed after it

typer.run(command)
"""


@contextmanager
def running(ignoring: Sequence[signal.Signals] = ()) -> Iterator[subprocess.Popen[str]]:
    """A command at work, started to ignore these signals."""

    def ignore() -> None:
        for number in ignoring:
            signal.signal(number, signal.SIG_IGN)

    command = [sys.executable, "-c", COMMAND]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=ignore) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_whoever_stops_it_reads_one_line(number: signal.Signals, status: int) -> None:
    with running() as process:
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == status
    assert said == "fsmde: error: interrupted; what is finished is kept, run the same command again to go on\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_it_was_started_to_ignore_does_not_stop_it(number: signal.Signals) -> None:
    """`nohup fsmde … &` in a script outlives Ctrl-C and the terminal, and ends when it is told to."""
    with running(ignoring=[number]) as process:
        process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "run the same command again" in said
