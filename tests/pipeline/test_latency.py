"""What a network needs is counted, against what is known of small ones."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from pipeline.latency import Latency, _multiply_adds, _Network
from pipeline.tensor_memory import TensorMemory
from stages.train.student import load_student
from tests.pipeline.conftest import Cli, one_line


def test_tensors_count_as_long_as_they_live() -> None:
    weight = torch.ones(1000)
    with TensorMemory([weight]) as memory, torch.inference_mode():
        first = weight * 2  # 4,000 bytes
        view = first[:10]
        second = first + 1  # and as many again
        del first, view
        third = second * 2  # in place of the first
        del second, third
        weight.view(10, 100)
        torch.ones(100)
    assert memory.peak_bytes == 8000
    assert memory._held == 0


def test_products_convolutions_and_attention_are_counted() -> None:
    linear, convolution = nn.Linear(8, 16), nn.Conv2d(3, 4, 3)

    def look() -> None:
        with torch.inference_mode():
            linear(torch.ones(5, 8))
            convolution(torch.ones(1, 3, 10, 10))
            q = torch.ones(1, 2, 64, 32)
            nn.functional.scaled_dot_product_attention(q, q, q)

    expected = 5 * 8 * 16 + 8 * 8 * 4 * 27 + 2 * (2 * 64 * 64 * 32)
    assert _multiply_adds(_Network(look, (), "float32")) == expected


def test_teacher_and_student_side_by_side(cli: Cli, trained: Path, teacher: Path) -> None:
    threads = torch.get_num_threads()
    result = cli(
        "latency", "--cache", trained / "zarr", "--run", trained / "run", "--teacher", teacher, "--device", "cpu",
        "--threads", str(threads),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = Latency.model_validate_json((trained / "run" / "latency.json").read_bytes())
    assert (found.device, found.threads, found.views, found.image_size) == ("cpu", threads, 6, (64, 96))
    assert found.in_words in result.output
    for cost in (found.teacher, found.student):
        assert 0 < cost.median_s <= cost.p95_s <= max(cost.all_s)
        assert len(cost.all_s) >= 7
        assert cost.peak_bytes > 4 * cost.parameters > 0
        assert cost.multiply_adds > 0
    student = load_student(trained / "run" / "student", torch.device("cpu"))
    assert found.student.parameters == sum(weight.numel() for weight in student.parameters())


def test_a_teacher_from_a_folder_must_be_named(cli: Cli, trained: Path) -> None:
    message = one_line(cli("latency", "--cache", trained / "zarr", "--run", trained / "run", "--device", "cpu"))
    assert "pass that folder with --teacher" in message
