"""The processes that train one student together: torchrun or `accelerate launch` starts them, each with its device.

Where nobody started several, the one there is is alone, and nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import InitProcessGroupKwargs, gather_object
from torch import distributed, nn

from cache_schema.errors import ConfigError, FsmdeError, ToldElsewhereError, TrainingError
from stages.device import choose_device
from stages.train.batch_norm import share_batch_norm

T = TypeVar("T")

_PATIENCE = timedelta(hours=2)
"""How long the others wait for one: longer than it waits itself for a batch. One that ends is noticed at once."""


class LeftAloneError(TrainingError):
    """What befell this process alone, perhaps while the others wait for it: it leaves without them."""


@dataclass(frozen=True)
class Processes:
    """The `count` processes that train together, seen from number `rank` of them, which has a device of its own."""

    device: torch.device
    rank: int = 0
    count: int = 1
    accelerator: Any = None

    @property
    def main(self) -> bool:
        """Whether this is the one that writes and tells."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model, whose gradients become averages over the processes, and its normalisations cover all of them."""
        if self.count == 1:
            return model
        share_batch_norm(model)
        wrapped: nn.Module = self.accelerator.prepare_model(model)
        return wrapped

    def summing_later(self, model: nn.Module) -> AbstractContextManager[None]:
        """While a wrapped model runs, forward and backward, without exchanging its gradients: the next run does."""
        later: AbstractContextManager[None] = nullcontext() if self.count == 1 else self.accelerator.no_sync(model)
        return later

    def gather(self, value: T) -> list[T]:
        """Every process's value, in order of rank."""
        gathered: list[T] = [value] if self.count == 1 else gather_object([value])
        return gathered

    def any(self, here: bool) -> bool:
        """Whether it holds in any process."""
        if self.count == 1:
            return here
        anywhere = torch.tensor(int(here), device=self.device)
        distributed.all_reduce(anywhere, distributed.ReduceOp.MAX)
        return bool(anywhere)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What fails in one process fails in all, else the others would wait for it for ever.

        The first that failed raises its own error, the others ToldElsewhereError.
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            if self.count == 1:
                raise
            failure = error
        if self.any(failure is not None):
            first = self.gather(failure is not None).index(True)
            if failure is not None and self.rank == first:
                raise failure
            raise ToldElsewhereError(f"process {first + 1} of {self.count} failed and tells why")

    def in_step(self, items: Iterable[T], stopping: Callable[[], bool]) -> Iterator[T]:
        """Items for as long as every process has one and none is `stopping`."""
        iterator = iter(items)
        while True:
            with self.together():
                item = next(iterator, None)
            if self.any(item is None or stopping()):
                return
            assert item is not None
            yield item


def alone(device: str) -> Processes:
    """One process, on the device of that name. Raises ConfigError where there is no such device."""
    return Processes(choose_device(device))


@contextmanager
def join(device: str) -> Iterator[Processes]:
    """The processes that a launcher has started, until the end of the context; `device` as in the settings.

    Raises ConfigError where not every process can have a device of that kind for itself.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield alone(device)
        return
    accelerator = Accelerator(
        cpu=_kind_for_each(device) == "cpu",
        mixed_precision="no",  # the settings say which, and the losses stay out of it
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )
    if accelerator.distributed_type not in (DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise ConfigError(
            f"accelerate is set up for {accelerator.distributed_type.value}; a student fits on one device: choose plain"
            " multi-GPU or multi-CPU with accelerate config, or use torchrun"
        )
    all_leave = False
    try:
        yield Processes(accelerator.device, accelerator.process_index, accelerator.num_processes, accelerator)
        all_leave = True
    except (FsmdeError, KeyboardInterrupt) as error:
        all_leave = not isinstance(error, LeftAloneError)
        raise
    finally:
        if all_leave:  # else the others may be waiting for this one, and leaving would wait for them
            with suppress(RuntimeError):  # of one that has left already: then all had come as far as this
                distributed.barrier()  # else who is first out takes from the others what they have not read yet
            accelerator.end_training()


def _kind_for_each(device: str) -> str:
    """cpu or cuda: what every process gets one of."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    kind = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if kind not in ("cpu", "cuda"):
        raise ConfigError(
            f"each of several processes has its own device; set device to auto, cuda or cpu, not {device}"
        )
    if kind == "cuda" and local >= torch.cuda.device_count():
        raise ConfigError(
            f"process {local + 1} on this machine finds {torch.cuda.device_count()} GPUs; start one process per GPU,"
            " or train with --device cpu"
        )
    return kind
