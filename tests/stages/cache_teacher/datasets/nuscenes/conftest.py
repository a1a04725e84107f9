from pathlib import Path

import pytest

from tests.nuscenes_world import write_nuscenes_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scenes of three keyframes. Not to be changed."""
    pytest.importorskip("nuscenes", reason="needs nuscenes-devkit: make test-nuscenes")
    return write_nuscenes_world(tmp_path_factory.mktemp("nuscenes") / "world")
