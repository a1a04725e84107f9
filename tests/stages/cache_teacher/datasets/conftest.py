from pathlib import Path

import pytest

from tests.dgp_world import write_dgp_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of two complete samples, and one scene with front cameras only. Not to be changed."""
    return write_dgp_world(tmp_path_factory.mktemp("dgp") / "world", incomplete_scene=True)
