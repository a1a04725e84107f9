"""What befalls training from outside, in one line each: what is short, what is kept, and what mends it."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed import DistError

from cache_schema.errors import FsmdeError
from stages.memory import is_out_of_memory
from stages.train.checkpoint import checkpoints
from stages.train.plan import TrainPlan
from stages.train.processes import LeftAloneError, Processes
from stages.wording import size

_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FILES = (errno.EMFILE, errno.ENFILE)


@contextmanager
def told_in_a_line(plan: TrainPlan, processes: Processes) -> Iterator[None]:
    """Raise LeftAloneError for a lack of memory, disk space or files, and for another process that has gone.

    Other errors pass.
    """
    try:
        yield
    except FsmdeError:
        raise
    except Exception as error:
        found = _found(error, plan, processes)
        if found is None:
            raise
        raise LeftAloneError(f"{found}; {_kept(plan)}") from error


def _found(error: Exception, plan: TrainPlan, processes: Processes) -> str | None:
    code = error.errno if isinstance(error, OSError) else None
    reason = str(error).partition("\n")[0]
    if is_out_of_memory(error):
        loader = plan.config.loader
        return (
            f"out of memory on {processes.device} ({reason or type(error).__name__}); free some, or start another --run"
            f" with fewer rigs at a time: loader.batch_rigs (now {loader.batch_rigs}), or accumulate (now"
            f" {plan.config.accumulate}) to have them in parts; fewer loader.workers (now {loader.workers}) spare"
            " memory of the CPU in any run"
        )
    if code in _SPACE:
        return (
            f"{plan.run}: {reason}; free some space: the run takes up to {size(plan.run_bytes)}, of which"
            f" {size(plan.stored_bytes)} were there when it started"
        )
    if code in _FILES:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return f"{reason}: a process may have {limit}; allow more with ulimit -n, or take fewer loader.workers"
    if processes.count > 1 and _is_lost_connection(error):
        return (
            f"process {processes.rank + 1} of {processes.count} has lost another one ({reason}), which says why it"
            " ended, or was killed, mostly for want of memory"
        )
    return None


def _is_lost_connection(error: Exception) -> bool:
    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _kept(plan: TrainPlan) -> str:
    """Which checkpoint is left."""
    last = next(reversed(checkpoints(plan.run)), None)
    if last is None:
        return "no checkpoint was written yet, and the same command starts anew"
    return f"{last} is kept, and the same command goes on from it"
