"""Tiny teachers written once per session, and frames for them to see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny_teachers import write_tiny_teacher


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Folder of the tiny teacher of an architecture; not to be written to."""
    root, written = tmp_path_factory.mktemp("teachers"), {}

    def folder_of(architecture: str) -> str:
        if architecture not in written:
            written[architecture] = str(write_tiny_teacher(root / architecture, architecture))
        return written[architecture]

    return folder_of


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    """A tiny Depth Anything of one's own, to be damaged."""
    return write_tiny_teacher(tmp_path / "tiny")


@pytest.fixture(scope="session")
def rig() -> list[np.ndarray]:
    """Three smooth random frames of 96x160 pixels."""
    return [frame(seed) for seed in range(3)]


def frame(seed: int, height: int = 96, width: int = 160) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 10, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))
