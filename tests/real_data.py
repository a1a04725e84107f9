"""The real frames that some tests compare with; they are never part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def real_data(*parts: str) -> Path:
    """A path under $FSMDE_REAL_DATA. Skips the test where the variable is unset or the path is not there."""
    root = os.environ.get("FSMDE_REAL_DATA")
    if not root:
        pytest.skip("needs real frames: set FSMDE_REAL_DATA to the folder that holds them")
    path = Path(root, *parts)
    if not path.exists():
        pytest.skip(f"needs real frames: FSMDE_REAL_DATA has no {Path(*parts)}")
    return path
