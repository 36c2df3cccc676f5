"""What TIES lets each task vector contribute: AdaMerging++ learns the coefficients of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from mergeward.merge.adaptive.layout import Layout
from mergeward.merge.adaptive.problem import AdaptiveProblem
from mergeward.merge.static.cut import Cut, smallest_kept
from mergeward.merge.static.election import elected, weighted


def with_ties_vectors(problem: AdaptiveProblem, density: float) -> AdaptiveProblem:
    """Return a problem whose contributions are the base plus what TIES selects of their task vectors.

    Args:
        problem: The problem.
        density: Share of each task vector, largest magnitudes over the whole scope first, that is kept.
    """
    layout = Layout.of(problem.base)
    base = layout.flatten(problem.base, torch.float32)
    flat = torch.stack([layout.flatten(one, torch.float32) for one in problem.contributions]).sub_(base)
    selected = selected_by_ties(flat, density)
    contributions: list[Mapping[str, Tensor]] = [layout.views(base + vector) for vector in selected]
    return replace(problem, contributions=contributions)


def selected_by_ties(vectors: Tensor, density: float) -> Tensor:
    """Trim task vectors, elect a sign for each coordinate, and set to zero what does not have it.

    As `ties` does with `semantics: reference`, before it adds up.

    Args:
        vectors: float32 `[T, P]`; overwritten.
        density: Share of each that is kept, in (0, 1].
    """
    rank = smallest_kept(vectors.shape[1], density)
    kept = [Cut(float(v.abs().kthvalue(rank).values)).keep(v, 0) if rank else v for v in vectors]
    votes = weighted(kept, [1.0] * len(kept))
    mass = votes.mass()
    majority = 1.0 if mass.sign().sum() >= 0 else -1.0
    signs = elected(mass, majority)
    return torch.stack([magnitudes.mul_(signs) for magnitudes in votes.agreeing(signs)])
