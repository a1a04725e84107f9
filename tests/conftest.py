"""Ctrl-C works in the processes that tests start, also where a script runs the tests in its background."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    # A shell lets what it starts with & ignore Ctrl-C, and every process inherits that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
