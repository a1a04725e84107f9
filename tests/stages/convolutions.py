"""Every convolution of every network we train; run as a program, it compares their gradients with those without oneDNN.

`ONEDNN_MAX_CPU_ISA` limits the instructions oneDNN uses, and it is read once per process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from stages.cache_teacher.teachers.street import StreetDepthConfig, StreetDepthForDepthEstimation
from stages.sliced_convolution import SlicedConv2d
from stages.train.losses import Projector
from stages.train.metric_teacher.head import ScaleHead
from stages.train.student import EncoderConfig, Student, StudentConfig
from tests.stages.cache_teacher.teachers.street.conftest import TINY
from tests.stages.train.small import STUDENT

ROOT = Path(__file__).parents[2]
FEW = EncoderConfig(embedding_size=4, hidden_sizes=(4, 8, 12, 16), depths=(1, 1, 1, 1))
ENCODERS = (FEW, EncoderConfig(embedding_size=8, hidden_sizes=(8, 8, 16, 16)), EncoderConfig(layer_type="bottleneck"))


def networks() -> Iterator[nn.Module]:
    """One of each configuration that is shipped, that the tests train, or that has few channels; without weights."""
    with torch.device("meta"):
        for config in (StudentConfig(), STUDENT, STUDENT.model_copy(update={"head": "regression"}), *shipped()):
            yield Student(config)
        for encoder in ENCODERS:
            yield Student(StudentConfig(encoder=encoder, decoder_channels=16))
        street = json.loads((ROOT / "stages/cache_teacher/teachers/street/config.json").read_text())
        sizes = {name: street[name] for name in ("channels", "blocks", "decoder_channels", "context_heads")}
        for changes in (sizes, {}, TINY):
            yield StreetDepthForDepthEstimation(StreetDepthConfig(**changes))
        yield Projector(16, 8)
        yield ScaleHead(16, 6, 8)


def shipped() -> Iterator[StudentConfig]:
    """The students of the configurations in the package."""
    for file in sorted((ROOT / "pipeline").rglob("*.yaml")):
        for student in students(yaml.safe_load(file.read_text(encoding="utf-8"))):
            yield StudentConfig(**{name: student[name] for name in ("encoder", "decoder_channels") if name in student})


def students(settings: Any) -> Iterator[dict[str, Any]]:
    if isinstance(settings, dict):
        if isinstance(settings.get("student"), dict):
            yield settings["student"]
        settings = list(settings.values())
    if isinstance(settings, list):
        for value in settings:
            yield from students(value)


def convolutions() -> list[dict[str, Any]]:
    """The different convolutions among them, as arguments of `nn.Conv2d` and whether they are sliced."""
    found = {}
    for network in networks():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
                arguments = {name: getattr(module, name) for name in names} | {"bias": module.bias is not None}
                found[type(module), *arguments.values()] = {"kind": type(module)} | arguments
    return list(found.values())


def gradients(convolution: nn.Conv2d, images: Tensor, onednn: bool) -> list[Tensor]:
    images = images.clone(memory_format=torch.preserve_format).requires_grad_()
    with torch.backends.mkldnn.flags(enabled=onednn):
        output = convolution(images)
        towards = torch.linspace(-1, 1, output.numel()).view(output.shape).contiguous(memory_format=torch.channels_last)
        return [output.detach(), *torch.autograd.grad(output, [images, *convolution.parameters()], towards)]


def compare(kind: type[nn.Conv2d], **arguments: Any) -> None:
    convolution = kind(**arguments).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(2, arguments["in_channels"], 16, 32).contiguous(memory_format=torch.channels_last)
    expected = gradients(convolution, images, onednn=False)
    for _ in range(2):  # what one call corrupts, the next may find
        for found, right in zip(gradients(convolution, images, onednn=True), expected, strict=True):
            torch.testing.assert_close(
                found, right, rtol=1e-3, atol=1e-4 * float(right.abs().max()), msg=f"{arguments}"
            )


def train() -> None:
    """Three steps of a student with few channels."""
    student = Student(StudentConfig(encoder=FEW, decoder_channels=16)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(student.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        student(torch.randint(0, 255, (1, 2, 64, 96, 3), dtype=torch.uint8)).depth_m.log().mean().backward()
        optimizer.step()


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    found = convolutions()
    for arguments in found:
        compare(**arguments)
    train()
    print(f"{len(found)} convolutions, {sum(a['kind'] is SlicedConv2d for a in found)} sliced: as without oneDNN")


if __name__ == "__main__":
    main()
