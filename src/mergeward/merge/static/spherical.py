"""Interpolation on spheres: slerp of two models, and means of any number."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field
from torch import Tensor

from mergeward.merge.method import MethodInfo, NoParameters, Parameters
from mergeward.merge.settings import Schedule
from mergeward.merge.static.average import Share
from mergeward.merge.static.gram import Floats, along_span, cosines, grams, norms
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem

PARALLEL = 0.9995
"""Above this cosine, of either sign, slerp is linear, as in mergekit."""


class SlerpParameters(Parameters):
    """Parameters of `slerp`.

    Attributes:
        t: Where to go between the two.
    """

    t: float = Field(default=0.5, ge=0, le=1, description="0 is the first model, 1 the second")


class MultislerpParameters(Parameters):
    """Parameters of `multislerp`.

    Attributes:
        normalize_weights: Whether the weights are divided by their sum.
        eps: A mean direction no longer than this is none.
    """

    normalize_weights: bool = Field(default=True, description="divide the weights by their sum")
    eps: float = Field(
        default=1e-8, ge=0, description="a mean direction no longer than this is none: linear interpolation"
    )


class KarcherParameters(Parameters):
    """Parameters of `karcher`.

    Attributes:
        max_iter: The most steps.
        tol: A step shorter than this angle, in radians, is the last.
    """

    max_iter: int = Field(default=10, ge=0, description="the most steps")
    tol: float = Field(
        default=1e-5, gt=0, description="a step shorter than this angle, in radians, is the last"
    )


def slerp(problem: StaticProblem, schedule: Schedule[SlerpParameters, NoParameters]) -> StaticMerge:
    """Merge two models by theta = (sin((1 - t) w) * theta_1 + sin(t w) * theta_2) / sin(w), tensor by tensor.

    w is the angle between the two tensors. Lengths are not interpolated by themselves, as in mergekit. Where
    the tensors are parallel or opposite (|cos w| > 0.9995), or one is zero, the interpolation is linear.

    Of two contributions, the first is theta_1. Where the second is the base model itself it is theta_1, as in
    mergekit. A single contribution is theta_2, and the base theta_1.

    Source: Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985; mergekit 0.1.5, which
    treats zeros as being at a right angle.

    Args:
        problem: The base, its contributions and the scope.
        schedule: t.
    """

    def ends(part: Part) -> list[Tensor]:
        models = [part.contribution(index) for index in range(len(problem.contributions))]
        if len(models) == 1:
            return [part.base(), models[0]]
        return models[::-1] if swapped else models

    swapped = [model.name == problem.base.name for model in problem.contributions] == [False, True]
    shares = {
        name: slerp_shares(schedule[name].parameters.t, gram, PARALLEL)
        for name, gram in grams(problem, ends).items()
    }

    def merged(part: Part) -> Tensor:
        (first, second), (one, other) = ends(part), shares[part.name].tolist()
        return first.mul_(one).add_(second.mul_(other))

    return StaticMerge(merged)


def slerp_shares(t: float, gram: Floats, parallel: float) -> Floats:
    """Return the factors of two vectors with these inner products.

    Args:
        t: Where to go between them.
        gram: Their inner products.
        parallel: Above this cosine, of either sign, the interpolation is linear.
    """
    cosine = float(cosines(gram)[0, 1])
    if abs(cosine) > parallel or not norms(gram).all():
        return np.array([1 - t, t])
    angle = math.acos(cosine)
    shares: Floats = np.sin(np.array([1 - t, t]) * angle) / math.sin(angle)
    return shares


def nuslerp(problem: StaticProblem, schedule: Schedule[NoParameters, Share]) -> StaticMerge:
    """Merge two contributions by the slerp of their task vectors, tensor by tensor.

    theta = theta_0 + (sin((1 - t) w) * tau_1 + sin(t w) * tau_2) / sin(w), t = weight_2 / (weight_1 +
    weight_2), w the angle between the task vectors. Parallel, opposite and zero ones are interpolated
    linearly. As in mergekit with its `nuslerp_flatten: true`, and a base model.

    Args:
        problem: The base, its contributions and the scope.
        schedule: One weight for each contribution.
    """

    def shares(name: str, gram: Floats) -> Floats:
        first, second = (model.weight for model in schedule[name].models)
        t = second / (first + second) if first + second else 0.5
        return slerp_shares(t, gram, 1 - 1e-15)

    return along_span({name: shares(name, gram) for name, gram in grams(problem).items()})


def multislerp(problem: StaticProblem, schedule: Schedule[MultislerpParameters, Share]) -> StaticMerge:
    """Merge by the mean direction of the task vectors, at their mean length, tensor by tensor.

    theta = theta_0 + (sum_i w_i * |tau_i|) * m / |m|, m = sum_i w_i * tau_i / |tau_i|, with weights w_i
    that add up to 1 if `normalize_weights`. (mergekit's further step in the tangent space at m is always
    zero.) Where m is not longer than `eps` the interpolation is linear.

    Args:
        problem: The base, its contributions and the scope.
        schedule: normalize_weights and eps, and one weight for each contribution.
    """

    def shares(name: str, gram: Floats) -> Floats:
        parameters, models = schedule[name]
        weights = np.array([model.weight for model in models])
        if parameters.normalize_weights and weights.sum():
            weights = weights / weights.sum()
        lengths = norms(gram)
        length = math.sqrt(max(float(weights @ cosines(gram) @ weights), 0))
        if length <= parameters.eps:
            return weights
        units = np.divide(weights, lengths, out=np.zeros_like(weights), where=lengths > 0)
        direction: Floats = units * (weights @ lengths) / length
        return direction

    return along_span({name: shares(name, gram) for name, gram in grams(problem).items()})


def karcher(problem: StaticProblem, schedule: Schedule[KarcherParameters, NoParameters]) -> StaticMerge:
    """Merge by the Karcher mean of the models' directions, at their mean length, tensor by tensor.

    The Karcher mean has the least summed squared angle to the directions; it is found by steps along the
    mean of the logarithms. It is a mean of the models with factors, so their inner products, found in one
    pass, are all it needs. A tensor of zeros has no direction and counts in the length only.

    Args:
        problem: The base, its contributions and the scope.
        schedule: max_iter and tol.
    """

    def models(part: Part) -> list[Tensor]:
        return [part.contribution(index) for index in range(len(problem.contributions))]

    return along_span(
        {
            name: karcher_shares(gram, schedule[name].parameters)
            for name, gram in grams(problem, models).items()
        },
        of_models=True,
    )


def karcher_shares(gram: Floats, parameters: KarcherParameters) -> Floats:
    """Return the factors of vectors with these inner products in their Karcher mean, at their mean length."""
    lengths, cosine = norms(gram), cosines(gram)
    directed = lengths > 0
    shares: Floats = np.zeros(len(gram))
    if not directed.any():
        shares[:] = 1 / len(gram)
        return shares
    alphas = directed / directed.sum()
    mean = _unit(alphas, cosine, parameters.tol, fallback=np.eye(len(gram))[directed.argmax()])
    for _ in range(parameters.max_iter):
        dots = np.clip(cosine @ mean, -1, 1)
        angles = np.arccos(dots)
        far = directed & (angles >= parameters.tol)
        pull = np.zeros_like(mean)
        pull[far] = alphas[far] * angles[far] / np.maximum(np.sin(angles[far]), 1e-12)
        tangent = pull - (pull @ dots) * mean
        step = math.sqrt(max(float(tangent @ cosine @ tangent), 0))
        if step < parameters.tol:
            break
        moved = math.cos(step) * mean + math.sin(step) * tangent / step
        mean = _unit(moved, cosine, parameters.tol, fallback=mean)
    np.divide(mean * lengths.mean(), lengths, out=shares, where=directed)
    return shares


def _unit(factors: Floats, cosine: Floats, tolerance: float, fallback: Floats) -> Floats:
    length = math.sqrt(max(float(factors @ cosine @ factors), 0))
    return factors / length if length >= tolerance else fallback


PAPER = 'Goddard et al., "Arcee\'s MergeKit", EMNLP 2024, arXiv:2403.13257'
SLERP = MethodInfo(
    name="slerp",
    summary="goes from one model to another along the arc between them, tensor by tensor",
    paper=PAPER,
    kind="static",
    run=slerp,
    parameters=SlerpParameters,
    max_contributions=2,
)
NUSLERP = MethodInfo(
    name="nuslerp",
    summary="goes from one task vector to another along the arc between them, tensor by tensor",
    paper=PAPER,
    kind="static",
    run=nuslerp,
    model_parameters=Share,
    min_contributions=2,
    max_contributions=2,
)
MULTISLERP = MethodInfo(
    name="multislerp",
    summary="adds the mean direction of the task vectors at their mean length, tensor by tensor",
    paper=PAPER,
    kind="static",
    run=multislerp,
    parameters=MultislerpParameters,
    model_parameters=Share,
)
KARCHER = MethodInfo(
    name="karcher",
    summary="takes the Karcher mean of the contributions on the sphere, tensor by tensor",
    paper=PAPER,
    kind="static",
    run=karcher,
    parameters=KarcherParameters,
    needs_base=False,
)
