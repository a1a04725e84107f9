import pytest
import torch

from stages.train.config import OptimizerConfig
from stages.train.optimizer import learning_rate, make_optimizer
from stages.train.precision import autocast, make_scaler, resolve_precision
from stages.train.student import Student
from tests.stages.train.small import STUDENT


def test_the_learning_rate_rises_then_falls_to_its_floor():
    config = OptimizerConfig(lr=1.0, warmup_steps=4, floor=0.1)
    rates = [learning_rate(step, 40, config) for step in range(40)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] == pytest.approx(0.1)


def test_a_short_run_warms_up_for_a_tenth_of_it():
    config = OptimizerConfig(lr=1.0, warmup_steps=1000)
    assert [learning_rate(step, 20, config) for step in range(3)] == [0.5, 1.0, 1.0]


def test_a_single_step_without_warmup_is_at_the_full_rate():
    assert learning_rate(0, 1, OptimizerConfig(lr=0.5, warmup_steps=0)) == 0.5


def test_only_kernels_and_matrices_decay():
    student = Student(STUDENT)
    decayed, others = make_optimizer(student, OptimizerConfig(weight_decay=0.1)).param_groups
    assert decayed["weight_decay"] == 0.1
    assert others["weight_decay"] == 0
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert any(parameter is student.cross_view.place for parameter in others["params"])
    assert len(decayed["params"]) + len(others["params"]) == len(list(student.parameters()))


@pytest.mark.parametrize(
    ("device", "bfloat16", "expected"),
    [("cpu", False, "float32"), ("cuda", True, "bfloat16"), ("cuda", False, "float16")],
)
def test_auto_precision_follows_the_device(device, bfloat16, expected, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat16)
    assert resolve_precision("auto", torch.device(device)) == expected
    assert resolve_precision("float32", torch.device(device)) == "float32"


def test_the_loss_is_scaled_under_float16_only():
    cpu = torch.device("cpu")
    assert make_scaler("float16", cpu).is_enabled()
    assert not make_scaler("bfloat16", cpu).is_enabled()
    with autocast("bfloat16", cpu):
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16
