"""A street network too small to be good at anything."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stages.cache_teacher.teachers.street import StreetDepthConfig, StreetDepthForDepthEstimation
from stages.cache_teacher.teachers.street.publish import publish

TINY = {"channels": (4, 8, 8, 16, 24), "decoder_channels": (4, 8, 8, 16)}


def tiny_network(seed: int = 0) -> StreetDepthForDepthEstimation:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = StreetDepthForDepthEstimation(StreetDepthConfig(**TINY, blocks=(1, 1, 1, 1)))
        with torch.no_grad():
            network(torch.randn(4, 3, 64, 96))  # statistics of the normalisations
    return network.eval()


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny network, as `make street-teacher` writes one; not to be written to."""
    folder = tmp_path_factory.mktemp("published") / "tiny-street"
    publish(tiny_network(), folder, height=64, width=96)
    return folder
