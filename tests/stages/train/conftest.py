from pathlib import Path

import pytest
import torch

from tests.tiny_cache import write_tiny_cache


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rigs of four views with the perfect teacher `tiny`; tests only read it."""
    return write_tiny_cache(tmp_path_factory.mktemp("cache") / "zarr")


@pytest.fixture(scope="session")
def frames_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rigs without a teacher."""
    return write_tiny_cache(tmp_path_factory.mktemp("cache") / "zarr", teacher=False)


@pytest.fixture
def one_thread():
    """Sums in a fixed order, so that equal runs give equal bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    torch.manual_seed(0)
