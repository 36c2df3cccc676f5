"""The steps of an adaptive merge: counted, told, kept, and gone on with after an interruption.

What a method learns lies in *parts*, each with a `state_dict` and a `load_state_dict`. Everything else at a
step follows from them, from the losses so far and from the number of the step: batches are a function of it.
So a merge that goes on from a kept state ends with the bits of one that nothing interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from mergeward import progress
from mergeward.errors import MergewardError
from mergeward.merge.adaptive.optimizer import Adam
from mergeward.processes import process_number

StepSizes = Literal["constant", "cosine", "one_cycle"]

WARM_UP = 0.1
"""Share of a stage over which `one_cycle` lets the step sizes rise."""


class Stateful(Protocol):
    """Something that learns."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return what it has learnt; the tensors may be its own."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` returned."""


@dataclass(frozen=True)
class Saved:
    """A state of the learning.

    Attributes:
        tensors: What the parts have learnt, as `PART.KEY`.
        notes: All else, fit for JSON.
    """

    tensors: Mapping[str, Tensor]
    notes: Mapping[str, Any]


class Store(Protocol):
    """Keeps the latest state, so that another run can go on from there."""

    def load(self) -> Saved | None:
        """Return what an interrupted run of the same merge kept, if anything."""

    def due(self) -> bool:
        """Tell whether it is time to keep a state."""

    def save(self, saved: Saved) -> None:
        """Keep a state in place of the last one."""


class GeneratorState:
    """A random generator as a part."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def state_dict(self) -> dict[str, Tensor]:
        """Return where it stands."""
        return {"state": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` returned."""
        self._generator.set_state(state["state"])


class Learning:
    """The stages of an adaptive merge, and what they have come to.

    Args:
        store: Where states are kept; None keeps none.
        step_sizes: See `pace`.
        patience: See `settled`; None lets every stage take all its steps.
        gain: See `settled`.

    Attributes:
        losses: The losses of every step so far, by part of the loss.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        step_sizes: StepSizes = "constant",
        patience: int | None = None,
        gain: float = 0.0,
    ) -> None:
        self._store = store
        self._step_sizes = step_sizes
        self._patience = patience
        self._gain = gain
        self._parts: dict[str, Stateful] = {}
        self._saved = store.load() if store is not None else None
        notes = self._saved.notes if self._saved is not None else {}
        self.losses: dict[str, list[float]] = {k: list(v) for k, v in notes.get("losses", {}).items()}
        self._totals: dict[str, list[float]] = {k: list(v) for k, v in notes.get("totals", {}).items()}
        self._remembered: dict[str, Any] = dict(notes.get("remembered", {}))
        self._stage = ""
        self._note = ""

    def add(self, **parts: Stateful) -> None:
        """Name what is learnt; before the first stage that learns it."""
        self._parts.update(parts)

    def begun(self, stage: str) -> bool:
        """Tell whether an interrupted run had taken steps of a stage already."""
        return bool(self._totals.get(stage))

    def remember(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return a figure, fit for JSON, that is computed once and kept with the state.

        Args:
            name: Its name, unique within the merge.
            compute: What computes it.
        """
        if name not in self._remembered:
            self._remembered[name] = compute()
        return self._remembered[name]

    def steps(self, stage: str, count: int, *, paced: Sequence[Adam] = ()) -> Iterator[int]:
        """Yield the numbers of a stage's steps, from where an interrupted run stood.

        Args:
            stage: Its name, unique within the merge, shown as progress and in errors.
            count: How many steps, unless the loss has settled before.
            paced: Whose step sizes follow `step_sizes`.
        """
        self._restore()
        self._stage = stage
        totals = self._totals.setdefault(stage, [])
        numbers = progress.track(range(len(totals), count), stage)
        for step in numbers:
            if settled(totals, self._patience, self._gain):
                break
            for optimizer in paced:
                optimizer.pace = pace(self._step_sizes, step, count)
            yield step
            numbers.note = self._note
            if self._store is not None and process_number() == 0 and self._store.due():
                self._store.save(self._state())

    def record(self, losses: Mapping[str, Tensor], total: Tensor | None = None) -> None:
        """Note the losses of a step; to be called once in every step.

        Args:
            losses: By part, the one to be shown as the loss first.
            total: What is to settle; by default the first of them.

        Raises:
            MergewardError: One is NaN or infinite: nothing can be learnt from there on.
        """
        totals = self._totals[self._stage]
        values = {name: finite(loss, self._stage, len(totals)) for name, loss in losses.items()}
        for name, value in values.items():
            self.losses.setdefault(name, []).append(value)
        totals.append(next(iter(values.values())) if total is None else total.item())
        shown = zip(["loss", *list(values)[1:]], values.values(), strict=True)
        self._note = " ".join(f"{name} {value:.3f}" for name, value in shown)

    def _restore(self) -> None:
        """Give the parts what was kept of them, the first time that a stage begins."""
        saved, self._saved = self._saved, None
        if saved is None:
            return
        for name, part in self._parts.items():
            prefix = f"{name}."
            own = {
                key.removeprefix(prefix): tensor
                for key, tensor in saved.tensors.items()
                if key.startswith(prefix)
            }
            if own:
                part.load_state_dict(own)

    def _state(self) -> Saved:
        tensors = {
            f"{name}.{key}": tensor
            for name, part in self._parts.items()
            for key, tensor in part.state_dict().items()
        }
        notes = {"losses": self.losses, "totals": self._totals, "remembered": self._remembered}
        return Saved(tensors, notes)


def pace(step_sizes: StepSizes, step: int, count: int) -> float:
    """Return the factor of the step size at a step of a stage.

    Args:
        step_sizes: `constant` is 1; `cosine` falls to 0 over the stage; `one_cycle` too, and rises from
            near 0 over its first tenth.
        step: Which step, from 0.
        count: Steps of the stage.

    Example:
        >>> [round(pace("one_cycle", step, 20), 2) for step in (0, 1, 2, 10, 19)]
        [0.5, 0.99, 0.98, 0.5, 0.01]
    """
    if step_sizes == "constant":
        return 1.0
    rise = 1.0 if step_sizes == "cosine" else min(1.0, (step + 1) / max(1.0, WARM_UP * count))
    return rise * 0.5 * (1 + math.cos(math.pi * step / count))


def settled(losses: Sequence[float], patience: int | None, gain: float) -> bool:
    """Tell whether a loss has stopped falling.

    Looked at after every `patience` steps: the mean of the last `patience` losses is not below that of the
    `patience` before them by the share `gain`. Losses of single batches are too noisy to be compared.

    Args:
        losses: One a step.
        patience: Steps; None is never settled.
        gain: Share of the former mean by which the loss must fall.

    Example:
        >>> settled([3.0, 2.0, 1.0, 0.9], 2, 0.01), settled([3.0, 2.0, 3.0, 2.0], 2, 0.01)
        (False, True)
    """
    if patience is None or len(losses) < 2 * patience or len(losses) % patience:
        return False
    former, last = losses[-2 * patience : -patience], losses[-patience:]
    return sum(last) > (1 - gain) * sum(former)


def finite(loss: Tensor, stage: str, step: int) -> float:
    """Return a loss as a number.

    Raises:
        MergewardError: It is NaN or infinite.
    """
    value = loss.item()
    if not math.isfinite(value):
        raise MergewardError(f"{stage}: the loss became {value} at step {step + 1}; nothing was written")
    return value
