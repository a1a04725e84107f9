"""What a shard stores of a teacher beside its targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cache_schema.errors import TeacherError
from stages.cache_teacher.shard_task import in_half_precision


def test_tokens_are_stored_in_half_precision() -> None:
    tokens = torch.randn(2, 3, 4)
    stored = in_half_precision(tokens)
    assert stored.dtype == np.float16
    np.testing.assert_allclose(stored, tokens, rtol=1e-3)


def test_tokens_that_are_too_large_for_it_are_refused() -> None:
    tokens = torch.ones(2, 3, 4)
    tokens[1, 2, 3] = -70000
    with pytest.raises(TeacherError, match=r"is 70000, more than the 65504 .* leave out targets\.features"):
        in_half_precision(tokens)
