"""Numbers in words."""

from __future__ import annotations

import pytest

from stages.wording import counted, size


@pytest.mark.parametrize(("count", "expected"), [(0, "0 rigs"), (1, "1 rig"), (2, "2 rigs")])
def test_counts(count: int, expected: str) -> None:
    assert counted(count, "rig") == expected


@pytest.mark.parametrize(
    ("byte_count", "expected"),
    [
        (0, "0 B"),
        (6.4, "6 B"),
        (999.4, "999 B"),
        (999.5, "1.00 kB"),
        (9994, "9.99 kB"),
        (87_000, "87.0 kB"),
        (99_950, "100 kB"),
        (1_320_000, "1.32 MB"),
        (41e9, "41.0 GB"),
        (2.5e15, "2500 TB"),
    ],
)
def test_sizes(byte_count: float, expected: str) -> None:
    assert size(byte_count) == expected
