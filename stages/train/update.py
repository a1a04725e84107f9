"""One optimizer step on the rigs of a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from cache_schema.errors import TrainingError
from stages.train.batch import TrainBatch
from stages.train.checkpoint import Training, TrainState
from stages.train.learner import Learner
from stages.train.optimizer import clip_gradient, learning_rate, take_step
from stages.train.plan import TrainPlan
from stages.train.processes import Processes
from stages.train.reduce import by_itself


def update(
    model: nn.Module,
    training: Training,
    parts: Sequence[TrainBatch],
    plan: TrainPlan,
    state: TrainState,
    processes: Processes,
) -> dict[str, float]:
    """Learn from the parts of one batch, this process's share of each. Returns the loss, its terms and the gradient.

    `model` is the learner as `Processes.wrap` gives it; of the gradient it is the length. Raises TrainingError on a
    loss that is not finite; then nothing has changed.
    """
    config, scaler = plan.config, training.scaler
    seen = []
    for number, part in enumerate(parts, start=1):
        with nullcontext() if number == len(parts) else processes.summing_later(model):
            loss, terms = model(part.to(processes.device), state.step / plan.steps)
            torch.autograd.backward(scaler.scale(loss / len(parts)))
        seen.append({"loss": loss.detach(), **{name: term.detach() for name, term in terms.items()}})
    gradient = clip_gradient(training.learner, training.optimizer, scaler, config.optimizer.clip_norm)
    means = {name: torch.stack([values[name] for values in seen]).mean(dim=0) for name in seen[0]}
    losses = to_numbers({**means, "gradient": gradient})
    bad = not_finite(losses, scaled=scaler.is_enabled())
    if bad:
        refuse(bad, state.step, training.learner, parts, plan, processes)
    take_step(training.optimizer, scaler, learning_rate(state.step, plan.steps, config.optimizer))
    if training.average is not None:
        training.average.update_parameters(training.learner.student)
    return losses


def to_numbers(values: dict[str, Tensor]) -> dict[str, float]:
    """Scalars as plain numbers, fetched from the device in one go."""
    return dict(zip(values, torch.stack([value.detach() for value in values.values()]).tolist(), strict=True))


def not_finite(losses: dict[str, float], *, scaled: bool) -> list[str]:
    """Names of what is not finite. A `scaled` gradient may overflow: then the scaler skips the step and scales less."""
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    return [] if scaled and bad == ["gradient"] else bad


def refuse(
    bad: Sequence[str],
    step: int,
    learner: Learner,
    parts: Sequence[TrainBatch],
    plan: TrainPlan,
    processes: Processes,
) -> None:
    """Raise TrainingError with the rigs at fault, in all processes: the losses are of all, so every process is here.

    Those are the rigs whose loss is not finite without the others, or all rigs of the step where that is none or all.
    """
    rigs = [rig for part in processes.gather([rig for part in parts for rig in part.rigs]) for rig in part]
    alone = [rig for part in processes.gather(at_fault(learner, parts, step / plan.steps, processes)) for rig in part]
    found = f"{', '.join(bad)} not finite in step {step + 1}"
    if 0 < len(alone) < len(rigs):
        found, remedy = f"{found}, because of {', '.join(dict.fromkeys(alone))}", "look at what the cache holds there"
    else:
        found, remedy = f"{found}, with rigs {', '.join(rigs)}", "choose another --run with a lower optimizer.lr"
    with processes.together():
        raise TrainingError(f"{found}; the last checkpoint in {plan.run} is kept; {remedy}")


@torch.no_grad()
def at_fault(learner: Learner, parts: Sequence[TrainBatch], progress: float, processes: Processes) -> list[str]:
    """Rigs that this process holds whose loss is not finite by itself."""
    learner.eval()  # normalised as all rigs are
    with by_itself():
        return [
            part.rigs[rig]
            for part in parts
            for rig in range(len(part.rigs))
            if not learner(part.only(rig).to(processes.device), progress)[0].isfinite()
        ]
