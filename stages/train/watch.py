"""What training shows of itself on its way: scores and pictures."""

from __future__ import annotations

from collections.abc import Callable

from stages.progress import Progress
from stages.train.checkpoint import Training, TrainState
from stages.train.curves import Curves
from stages.train.panel import Panel
from stages.train.plan import TrainPlan
from stages.train.processes import Processes
from stages.train.readers import never
from stages.train.validation import Validation


class Watch:
    """Scores the student and draws it whenever it is time; knows the rigs for both. Use as a context manager."""

    def __init__(
        self,
        plan: TrainPlan,
        processes: Processes,
        curves: Curves,
        progress: Progress,
        stopping: Callable[[], bool] = never,
    ) -> None:
        validation = plan.config.validation
        self._plan = plan
        self._processes = processes
        self._curves = curves
        self._progress = progress
        self._validation = (
            None if validation is None else Validation(plan, validation, processes, stopping, progress.note)
        )
        self._panel = Panel(plan) if processes.main else None

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        if self._validation is not None:
            self._validation.close()

    def look(self, training: Training, state: TrainState) -> TrainState:
        """The state with the score of the step, if it got one."""
        config = self._plan.config
        if self._panel is not None and self._due(state.step, config.panel_every):
            self._curves.show(state.step, "panel", self._panel.draw(training.student, self._processes.device))
        if config.validation is None or self._validation is None or not self._due(state.step, config.validation.every):
            return state
        abs_rel = self._validation.abs_rel(training.student)
        state = state.scored(abs_rel)
        self._curves.mark(state.step, "validation/abs_rel", abs_rel)
        best = "the best so far" if state.stale == 0 else f"{state.stale} since the best"
        self._progress.note(f"step {state.step}: AbsRel {abs_rel:.4f} on split {config.validation.split}, {best}")
        return state

    def _due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self._plan.steps
