"""Which task vector stands out among the others?

A ranking and no verdict. With a handful of contributions a fixed outlier threshold flags a clean one in 8 to
27 % of clean pools (median and MAD at 3.5 to 2, six contributions, simulated under a Gaussian null), and the
strongest attack hardly stands out: BadMerging's task vector is about as orthogonal to the others as a clean
one. What ranks are worth has to be calibrated on clean fine-tunes of the same base. Who stands out far is
suspect then; who does not is not cleared by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mergeward.audit.report import Evidence, Verdict
from mergeward.audit.stage import Pool, Stage, StageResult
from mergeward.merge.vectors import VectorSums, vector_sums

NAME = "statistics"
FEWEST = 3
"""Of two, each differs from the other as much."""

MAD_TO_SIGMA = 1.4826
LEAST_SHARE = 1e-12
"""Shares of a layer below this count as this, so that a layer left alone has a logarithm."""


def run(pool: Pool) -> StageResult:
    """Compare every contribution's task vector with those of the others.

    Four measures: the logarithm of its length, the shares of its squared length that lie in each layer, its
    mean cosine to the others, and its mean sign agreement with them. For each, how far it lies from the
    median of the others in units of their spread (leave-one-out, so that it cannot hide by widening the
    spread). The score is the mean over the four of log(1 + deviation): four of middling size count as much as
    one that is very large, of which spreads of a few values easily make one.
    """
    names = tuple(pool.contributions)
    if not names:
        return StageResult({})
    sums = vector_sums(pool.base, tuple(pool.contributions.values()), pool.scope)
    if len(names) < FEWEST:
        deviations: dict[str, Tensor] = {}
        scores: dict[str, float] = {}
    else:
        deviations = {measure: leave_one_out(values) for measure, values in measures(sums).items()}
        combined = torch.stack(list(deviations.values())).log1p().mean(0)
        scores = dict(zip(names, combined.tolist(), strict=True))
    evidence = {
        name: Evidence(
            NAME,
            Verdict.INCONCLUSIVE,
            _summary(index, deviations),
            _figures(index, names, sums, deviations),
            score=scores.get(name),
        )
        for index, name in enumerate(names)
    }
    return StageResult(evidence, clears=False)


def measures(sums: VectorSums) -> dict[str, Tensor]:
    """Return what contributions are compared by: float64 `[F, N]` for each measure, finite."""
    squares = sums.layer_norms.square()
    shares = squares / squares.sum(0).clamp_min(torch.finfo(torch.float64).tiny)
    return {
        "norm": sums.norms.clamp_min(torch.finfo(torch.float64).tiny).log().unsqueeze(0),
        "layers": shares.clamp_min(LEAST_SHARE).log(),
        "cosine": mean_to_others(sums.cosines.nan_to_num(0.0)).unsqueeze(0),
        "signs": mean_to_others(sums.sign_agreement.nan_to_num(0.5)).unsqueeze(0),
    }


def mean_to_others(pairs: Tensor) -> Tensor:
    """Return the mean of each row of `[N, N]` without its diagonal, `[N]`."""
    return (pairs.sum(1) - pairs.diagonal()) / (len(pairs) - 1)


def leave_one_out(values: Tensor) -> Tensor:
    """Return how far each contribution lies from the others.

    Args:
        values: float64 `[F, N]`, `F` features of `N` contributions.

    Returns:
        float64 `[N]`: |value - median of the others| over the MAD of the others (scaled to a standard
        deviation, and at least a millionth of the values' size), root mean square over the features.
    """
    count = values.shape[1]
    deviations = []
    for index in range(count):
        others = values[:, [other for other in range(count) if other != index]]
        median = others.quantile(0.5, dim=1, keepdim=True)
        spread = MAD_TO_SIGMA * (others - median).abs().quantile(0.5, dim=1)
        least = 1e-6 * values.abs().amax(1) + torch.finfo(torch.float64).tiny
        deviations.append((values[:, index] - median[:, 0]).abs() / spread.maximum(least))
    return torch.stack(deviations).square().mean(1).sqrt()


def _summary(index: int, deviations: Mapping[str, Tensor]) -> str:
    if not deviations:
        return f"not ranked: comparing takes {FEWEST} contributions"
    furthest = max(deviations, key=lambda measure: float(deviations[measure][index]))
    return f"ranked only; furthest from the others in {furthest} ({deviations[furthest][index]:.1f} spreads)"


def _figures(
    index: int, names: tuple[str, ...], sums: VectorSums, deviations: Mapping[str, Tensor]
) -> dict[str, Any]:
    others = [other for other in range(len(names)) if other != index]
    cosines, agreement = sums.cosines[index], sums.sign_agreement[index]
    return {
        "norm": float(sums.norms[index]),
        "layer_norms": dict(zip(sums.layers, sums.layer_norms[:, index].tolist(), strict=True)),
        "cosine": {names[other]: _number(cosines[other]) for other in others},
        "sign_agreement": {names[other]: _number(agreement[other]) for other in others},
        "deviation": {measure: float(value[index]) for measure, value in deviations.items()},
    }


def _number(value: Tensor) -> float | None:
    """A float fit for JSON: None where the figure is not defined."""
    return float(value) if bool(value.isfinite()) else None


STAGE = Stage(
    name=NAME,
    summary="compares length, layers, direction and signs of each task vector with those of the others",
    run=run,
    compares=True,
)
