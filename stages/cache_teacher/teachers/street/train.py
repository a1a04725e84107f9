"""Training the street teacher: `make street-teacher`, or python -m stages.cache_teacher.teachers.street --help.

Interrupted, it goes on where it stopped when started again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from cache_schema.errors import TrainingError
from stages.cache_teacher.datasets.street import CAMERAS
from stages.cache_teacher.teachers.street.augment import augmented
from stages.cache_teacher.teachers.street.loss import LossTerms, street_loss
from stages.cache_teacher.teachers.street.model import StreetDepthConfig, StreetDepthForDepthEstimation
from stages.cache_teacher.teachers.street.processor import normalized
from stages.cache_teacher.teachers.street.settings import Budget, TrainingSettings, resolve_precision
from stages.cache_teacher.teachers.street.towns import Render, Supply, TownPool, render_town
from stages.cache_teacher.teachers.street.training_state import Training, load_training, save_training

SAVE_EVERY_S = 120.0
SAY_EVERY = 50
LOWEST_LR = 0.001
"""The learning rate at the end, as a share of the highest."""

Say = Callable[[str], None]


def train(
    settings: TrainingSettings,
    budget: Budget,
    run: Path,
    *,
    device: torch.device,
    workers: int = 1,
    render: Render = render_town,
    stop: Callable[[], bool] = lambda: False,
    say: Say = print,
) -> Training:
    """Train, or go on training, until the budget is spent or `stop` says so; the state is kept in `run`.

    A budget in steps gives the same weights each time on the same machine, interrupted or not.

    Raises TrainingError for a run with other settings, and for a loss that is not finite.
    """
    training = start_training(settings, device)
    load_training(run, training, settings)
    precision = resolve_precision(settings.precision, device)
    supply = supply_of(settings)
    said = Reports(say, settings.batch)
    saved = time.monotonic()
    size = {"rigs": settings.rigs_per_town, "height": settings.height, "width": settings.width}
    with TownPool(run / "towns", **size, workers=workers, render=render) as pool:
        while (done := budget.progress(training.step, training.seconds)) < 1 and not stop():
            started = time.perf_counter()
            images, depth_m = draw_pictures(pool, supply, training.step, settings.seed)
            lr = learning_rate(done, settings)
            terms = take_step(training, images.to(device), depth_m.to(device), settings, lr, precision)
            training.seconds += time.perf_counter() - started
            said.add(training, terms, pool.waited_s, budget)
            if time.monotonic() - saved > SAVE_EVERY_S:
                save_training(run, training, settings)
                saved = time.monotonic()
    save_training(run, training, settings)
    return training


def start_training(settings: TrainingSettings, device: torch.device) -> Training:
    """A network with random weights, and its optimizer; kernels and matrices decay."""
    torch.manual_seed(settings.seed)
    config = StreetDepthConfig(channels=settings.channels, decoder_channels=settings.decoder_channels)
    network: nn.Module = StreetDepthForDepthEstimation(config)
    network = network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return Training(network, AdamW(groups, lr=settings.lr, betas=(0.9, 0.99), fused=True))


def supply_of(settings: TrainingSettings) -> Supply:
    """How towns come in with these settings."""
    return Supply(
        pictures_per_town=settings.rigs_per_town * len(CAMERAS),
        batch=settings.batch,
        reuse=settings.reuse,
        first=settings.first_towns,
        kept=settings.kept_towns,
    )


def draw_pictures(
    pool: TownPool, supply: Supply, step: int, seed: int
) -> tuple[UInt8[Tensor, "B H W 3"], Float[Tensor, "B H W"]]:
    """The pictures of a step, and their depths in metres."""
    pool.move_to(supply.window(step))
    images, depths = zip(*(pool.picture(*each) for each in supply.draw(step, seed)), strict=True)
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(depths))


def take_step(
    training: Training,
    images: UInt8[Tensor, "B H W 3"],
    depth_m: Float[Tensor, "B H W"],
    settings: TrainingSettings,
    lr: float,
    precision: str,
) -> LossTerms:
    """Change the weights once. Raises TrainingError if the loss is not finite."""
    generator = torch.Generator().manual_seed((settings.seed << 32) + training.step)
    seen, depth_m = augmented(images, depth_m, generator)
    pixel_values = normalized(seen).contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        disparity = training.network(pixel_values=pixel_values).predicted_depth
    terms = street_loss(disparity.float(), depth_m)
    if not math.isfinite(terms.total.item()):
        raise TrainingError(f"the loss is not finite in step {training.step + 1}; try a lower --lr")
    torch.autograd.backward(terms.total)
    clip_grad_norm_(training.network.parameters(), settings.clip_norm)
    for group in training.optimizer.param_groups:
        group["lr"] = lr
    training.optimizer.step()
    training.optimizer.zero_grad()
    training.step += 1
    training.follow(settings.average)
    return terms


def learning_rate(done: int | float, settings: TrainingSettings) -> float:
    """Learning rate when a share `done` of the training is behind: a linear rise, then half a cosine down."""
    if done < settings.warmup:
        return settings.lr * max(done / settings.warmup, LOWEST_LR)
    share = 0.5 * (1 + math.cos(math.pi * (done - settings.warmup) / (1 - settings.warmup)))
    return settings.lr * (LOWEST_LR + (1 - LOWEST_LR) * share)


class Reports:
    """Says every few steps how it goes."""

    def __init__(self, say: Say, batch: int) -> None:
        self._say = say
        self._batch = batch
        self._terms: list[LossTerms] = []
        self._since = time.perf_counter()
        self._waited_s = 0.0

    def add(self, training: Training, terms: LossTerms, waited_s: float, budget: Budget) -> None:
        """Count a step."""
        self._terms.append(terms)
        if training.step % SAY_EVERY:
            return
        seconds = time.perf_counter() - self._since
        names = ("total", "log_error", "gradient", "sky", "correlation")
        losses = "  ".join(f"{name} {np.mean([getattr(t, name).item() for t in self._terms]):.4f}" for name in names)
        self._say(
            f"step {training.step}  {budget.progress(training.step, training.seconds):.1%}  {losses}"
            f"  {len(self._terms) / seconds:.2f} steps/s  waiting for towns {(waited_s - self._waited_s) / seconds:.0%}"
        )
        self._terms, self._since, self._waited_s = [], time.perf_counter(), waited_s
