"""The optimizer and its learning rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from stages.train.config import OptimizerConfig


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> AdamW:
    """AdamW over a model's weights; only matrices and kernels decay."""
    weights = [p for name, p in model.named_parameters() if _decays(name, p)]
    others = [p for name, p in model.named_parameters() if not _decays(name, p)]
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return AdamW(groups, lr=config.lr, fused=True)


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Learning rate of step 0 … steps − 1: linear warm-up, then a half cosine down to `floor` · lr."""
    warmup = min(config.warmup_steps, steps // 10)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    progress = (step - warmup) / max(steps - 1 - warmup, 1)
    share = 0.5 * (1 + math.cos(math.pi * progress))
    return config.lr * (config.floor + (1 - config.floor) * share)


def clip_gradient(model: nn.Module, optimizer: AdamW, scaler: torch.amp.GradScaler, clip_norm: float) -> Tensor:
    """Undo the scaling of the gradient, shorten it to `clip_norm`, and return how long it was."""
    scaler.unscale_(optimizer)
    return clip_grad_norm_(model.parameters(), clip_norm)


def take_step(optimizer: AdamW, scaler: torch.amp.GradScaler, lr: float) -> None:
    """Change the weights, and forget the gradient."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()


def _decays(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim > 1 and not name.endswith("cross_view.place")
