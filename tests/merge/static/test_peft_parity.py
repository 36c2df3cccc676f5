"""Merges element by element as `peft.utils.merge_utils` computes them, on the same task vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft.utils import merge_utils
from torch import Tensor

from mergeward.errors import RecipeError
from static_merges import merge_states

SHAPE = (6, 7)
WEIGHTS = [0.3, 0.5, -0.2]

seeds = st.integers(0, 2**32 - 1)
densities = st.sampled_from([0.1, 0.2, 0.5, 0.85, 0.99])


def task_vectors(seed: int, contributions: int = len(WEIGHTS)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(SHAPE, generator=generator) for _ in range(contributions)]


def ours(name: str, taus: Sequence[Tensor], weights: Sequence[float], **parameters: Any) -> Tensor:
    density = {"density": parameters.pop("density")} if "density" in parameters else {}
    per_model = [{"weight": weight, **density} for weight in weights]
    base = {"w": torch.zeros(SHAPE)}
    return merge_states(name, base, [{"w": tau} for tau in taus], parameters, per_model)["w"]


def theirs(
    function: Callable[..., Tensor], taus: Sequence[Tensor], weights: Sequence[float], **more: Any
) -> Tensor:
    return function([tau.clone() for tau in taus], torch.tensor(weights), **more)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@given(seed=seeds)
def test_task_arithmetic(seed: int) -> None:
    taus = task_vectors(seed)
    close(ours("task_arithmetic", taus, WEIGHTS), theirs(merge_utils.task_arithmetic, taus, WEIGHTS))


@given(seed=seeds, density=densities)
def test_ties(seed: int, density: float) -> None:
    taus = task_vectors(seed)
    found = ours("ties", taus, WEIGHTS, density=density, semantics="peft")
    close(found, theirs(merge_utils.ties, taus, WEIGHTS, density=density))


@given(seed=seeds, density=densities)
def test_what_dare_keeps_is_scaled_alike(seed: int, density: float) -> None:
    (tau,) = task_vectors(seed, 1)
    torch.manual_seed(0)  # PEFT draws from torch's global generator
    expected = theirs(merge_utils.dare_linear, [tau], [0.7], density=density)
    found = ours("dare_linear", [tau], [0.7], density=density)
    both = (found != 0) & (expected != 0)
    close(found[both], expected[both])


@pytest.mark.parametrize("name", ["dare_linear", "dare_ties"])
@given(seed=seeds, density=densities)
def test_dare_with_the_same_draws(name: str, seed: int, density: float) -> None:
    """Their function is given our draws: what is kept of one contribution by itself, at weight one."""
    taus = task_vectors(seed)
    drawn = [kept_by_ours(taus, index, density) for index in range(len(taus))]
    with pytest.MonkeyPatch.context() as patch:
        pruned = iter(drawn)
        patch.setattr(merge_utils, "prune", lambda *_, **__: next(pruned))
        expected = theirs(getattr(merge_utils, name), taus, WEIGHTS, density=density)
    close(ours(name, taus, WEIGHTS, density=density, semantics="peft"), expected)


def kept_by_ours(taus: Sequence[Tensor], index: int, density: float) -> Tensor:
    weights = [float(index == other) for other in range(len(taus))]
    return ours("dare_linear", taus, weights, density=density)


@pytest.mark.parametrize("name", ["della", "breadcrumbs"])
def test_what_peft_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=f"PEFT has no {name}"):
        ours(name, task_vectors(0), WEIGHTS, semantics="peft")
