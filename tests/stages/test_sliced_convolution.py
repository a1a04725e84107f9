"""Convolutions that corrupt memory on some CPUs are in no network of ours; those that are in them are right."""

from __future__ import annotations

import ast
import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from stages.sliced_convolution import SlicedConv2d, is_strided_1x1, slice_strided_1x1
from tests.stages.convolutions import ROOT, networks

MADE_OF_OTHERS = {"Learner", "SlicedConv2d"}
"""Modules of the stages that are not networks of their own."""


def test_no_network_has_a_strided_1x1_convolution():
    for network in networks():
        faulty = [name for name, module in network.named_modules() if is_strided_1x1(module)]
        assert not faulty, f"{type(network).__name__}: pass it through slice_strided_1x1; it has {faulty}"


def test_every_module_of_the_stages_is_among_the_networks():
    seen = {type(module).__name__ for network in networks() for module in network.modules()}
    classes = [
        node
        for file in (ROOT / "stages").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    bases = {"nn.Module", "nn.Conv2d", "PreTrainedModel"}
    modules = {node.name for node in classes if bases & {ast.unparse(base) for base in node.bases}}

    assert modules - seen - MADE_OF_OTHERS == set()


@pytest.mark.parametrize("stride", [2, (1, 2), (2, 1), 3])
@pytest.mark.parametrize("groups", [1, 4])
def test_slicing_changes_no_result_and_no_name(stride, groups):
    plain = nn.Sequential(nn.Conv2d(8, 12, 1, stride, groups=groups), nn.Conv2d(12, 4, 3, 2))
    sliced = slice_strided_1x1(copy.deepcopy(plain))
    images = torch.randn(2, 8, 17, 24)

    assert [type(module) for module in sliced] == [SlicedConv2d, nn.Conv2d]
    assert plain.state_dict().keys() == sliced.state_dict().keys()
    torch.testing.assert_close(sliced(images), plain(images))
    torch.testing.assert_close(copy.deepcopy(sliced)(images), plain(images))
    torch.testing.assert_close(torch.export.export(sliced, (images,)).module()(images), plain(images))


NO_MORE_THAN_AVX2 = pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "AVX2", reason="ALL is AVX2 here")


@pytest.mark.parametrize("instructions", ["SSE41", pytest.param("AVX2", marks=NO_MORE_THAN_AVX2), "ALL"])
def test_gradients_of_all_convolutions_are_those_without_onednn(instructions):
    checked = {"MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
    if sys.platform == "linux":
        checked["LD_PRELOAD"] = "libc_malloc_debug.so.0"  # since glibc 2.34 MALLOC_CHECK_ needs it
    done = subprocess.run(
        [sys.executable, "-m", "tests.stages.convolutions"],
        env=os.environ | checked | {"ONEDNN_MAX_CPU_ISA": instructions, "OMP_NUM_THREADS": "1"},
        cwd=ROOT, capture_output=True, text=True, timeout=240,
    )  # fmt: skip

    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    assert done.stdout.endswith("as without oneDNN\n")
