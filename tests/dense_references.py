"""Static merges in plain float64: what the methods are held against."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mergeward.merge.static.draws import bernoulli
from mergeward.merge.static.problem import BLOCK
from mergeward.seeding import numpy_generator


def dense_average(base: Tensor, taus: list[Tensor]) -> Tensor:
    return (1.0 * (base + taus[0]) + 2.0 * (base + taus[1]) + 0.5 * (base + taus[2])) / 3.5


def dense_task_arithmetic(base: Tensor, taus: list[Tensor]) -> Tensor:
    return base + 0.8 * (0.3 * taus[0] - 0.2 * taus[1] + 0.5 * taus[2])


def dense_ties(base: Tensor, taus: list[Tensor], *, normalize: bool = False) -> Tensor:
    # Weights of few bits: sums that are zero are then zero in any order of summation.
    weights, densities = (0.25, 0.375, 0.5), (0.2, 0.2, 0.6)
    trimmed = []
    for weight, density, tau in zip(weights, densities, taus, strict=True):
        kth = tau.abs().kthvalue(tau.numel() - int(tau.numel() * density)).values
        trimmed.append(weight * tau * (tau.abs() >= kth))
    stacked = torch.stack(trimmed)
    sign = torch.sign(stacked.sum(0))
    sign[sign == 0] = torch.sign(sign.sum())
    agrees = torch.sign(stacked) == sign
    total = (stacked * agrees).sum(0)
    if normalize:
        mass = (torch.tensor(weights, dtype=torch.float64)[:, None] * agrees).sum(0)
        total = torch.where(mass > 0, total / mass, 0.0)
    return base + 1.5 * total


def dense_ties_mean(base: Tensor, taus: list[Tensor]) -> Tensor:
    return dense_ties(base, taus, normalize=True)


def top(tau: Tensor, count: int) -> Tensor:
    """Mask of the `count` largest magnitudes of a tensor, of equals the first."""
    mask = torch.zeros(tau.numel(), dtype=torch.bool)
    mask[tau.flatten().abs().sort(descending=True, stable=True).indices[:count]] = True
    return mask.reshape(tau.shape)


def elected_total(signs: Tensor, stacked: Tensor, shares: Sequence[float], how: str) -> Tensor:
    agrees = torch.sign(stacked) == signs
    divisor = (torch.tensor(shares).double().reshape(-1, *[1] * signs.ndim) * agrees).sum(0)
    total = (stacked * agrees).sum(0)
    return torch.where(divisor > 0, total / divisor, 0.0) if how == "mean" else total


def zero_up(mass: Tensor) -> Tensor:
    return torch.where(mass >= 0, 1.0, -1.0).double()


def each_ties(name: str, base: Tensor, taus: list[Tensor], *, peft: bool) -> Tensor:
    weights, densities = (0.25, 0.375, 0.5), (0.2, 0.2, 0.6)
    trimmed = torch.stack(
        [
            tau * top(tau, max(int(density * tau.numel()), min(tau.numel(), 0 if peft else 1)))
            for tau, density in zip(taus, densities, strict=True)
        ]
    )
    scaled = torch.stack([weight * tau for weight, tau in zip(weights, trimmed, strict=True)])
    signs = zero_up(trimmed.sum(0) if peft else scaled.sum(0))
    return base + 1.5 * elected_total(signs, scaled, (1, 1, 1) if peft else weights, "mean")


def dense_ties_max(base: Tensor, taus: list[Tensor]) -> Tensor:
    stacked = torch.stack([0.5 * tau for tau in taus])
    sign = torch.sign(stacked.sum(0))
    sign[sign == 0] = torch.sign(sign.sum())
    return base + sign * (stacked * sign).amax(0)


# Numbers of few bits, for the reason given in dense_ties; a density of 0.9 leaves no room for gamma 0.3.
WEIGHTS, DENSITIES, BANDS = (0.25, 0.375, 0.5), (0.5, 0.5, 0.25), (0.9, 0.5, 0.25)


def drawn(name: str, index: int, shape: torch.Size, density: float, step: int = BLOCK) -> Tensor:
    """The mask of one contribution, block by block as the engine cuts them."""
    count = math.prod(shape)
    blocks = [
        bernoulli(numpy_generator(0, "dare", str(index), name, start), (min(step, count - start),), density)
        for start in range(0, max(count, 1), step)
    ]
    return torch.from_numpy(np.concatenate(blocks)).reshape(shape)


def l1_ratio(tau: Tensor, sparse: Tensor) -> float:
    before, after = float(tau.abs().sum()), float(sparse.abs().sum())
    return before / after if before and after else 1.0


def each_dare(name: str, base: Tensor, taus: list[Tensor], *, elect: bool, l1: bool) -> Tensor:
    scaled = []
    for index, (tau, weight, density) in enumerate(zip(taus, WEIGHTS, DENSITIES, strict=True)):
        sparse = tau * drawn(name, index, tau.shape, density)
        scaled.append(weight * sparse * (l1_ratio(tau, sparse) if l1 else 1 / density))
    stacked = torch.stack(scaled)
    if not elect:
        return base + 1.5 * stacked.sum(0)
    return base + 1.5 * elected_total(zero_up(stacked.sum(0)), stacked, WEIGHTS, "mean")


def each_breadcrumbs(name: str, base: Tensor, taus: list[Tensor], *, elect: bool, rows: bool) -> Tensor:
    scaled = []
    for tau, weight, density in zip(taus, WEIGHTS, BANDS, strict=True):
        if rows and not tau.ndim:
            scaled.append(weight * tau)
            continue
        units = tau.reshape(-1, max(tau.shape[-1], 1)) if rows else tau.reshape(1, -1)
        size = units.shape[1]
        kept = int(density * size)
        first = int(0.3 * size) if rows else min(int(0.3 * size), size - kept)
        bands = [unit * (top(unit, first + kept) & ~top(unit, first)) for unit in units]
        scaled.append(weight * (torch.cat(bands) if bands else units).reshape(tau.shape))
    stacked = torch.stack(scaled)
    if not elect:
        return base + 1.5 * stacked.sum(0)
    return base + 1.5 * elected_total(zero_up(stacked.sum(0)), stacked, WEIGHTS, "sum")


def della_factors(
    name: str, index: int, tau: Tensor, density: float, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Mask and probabilities of one contribution, place by place."""
    rows = tau.reshape(-1, max(tau.shape[-1] if tau.ndim else 1, 1))
    width = rows.shape[1]
    probability = (
        np.array([density]) if width == 1 else np.linspace(density + epsilon, density - epsilon, width)
    )
    step = max(BLOCK // width, 1)
    mask, chance = torch.zeros_like(rows), torch.ones_like(rows)
    for start in range(0, rows.shape[0] if rows.numel() else 0, step):
        run = rows[start : start + step]
        kept = bernoulli(
            numpy_generator(0, "della", str(index), name, start * width), tuple(run.shape), probability
        )
        order = run.abs().sort(dim=1, descending=True, stable=True).indices
        mask[start : start + step].scatter_(1, order, torch.from_numpy(kept).double())
        chance[start : start + step].scatter_(1, order, torch.from_numpy(probability).expand(run.shape))
    return mask.reshape(tau.shape), chance.reshape(tau.shape)


def each_della(name: str, base: Tensor, taus: list[Tensor], *, elect: bool, l1: bool) -> Tensor:
    scaled = []
    for index, (tau, weight, density) in enumerate(zip(taus, WEIGHTS, DENSITIES, strict=True)):
        mask, chance = della_factors(name, index, tau, density, 0.05)
        sparse = tau * mask
        scaled.append(weight * (sparse * l1_ratio(tau, sparse) if l1 else sparse / chance))
    stacked = torch.stack(scaled)
    if not elect:
        return base + 1.5 * stacked.sum(0)
    return base + 1.5 * elected_total(zero_up(stacked.sum(0)), stacked, WEIGHTS, "mean")


def dense_magmax(base: Tensor, taus: list[Tensor]) -> Tensor:
    stacked = torch.stack([weight * tau for weight, tau in zip(WEIGHTS, taus, strict=True)])
    highest, lowest = stacked.amax(0), stacked.amin(0)
    return base + 1.5 * torch.where(highest >= -lowest, highest, lowest)


def dense_consensus(base: Tensor, taus: list[Tensor]) -> Tensor:
    total = 1.5 * sum(weight * tau for weight, tau in zip(WEIGHTS, taus, strict=True))
    masks = [tau.abs() > m * (total - tau).abs() for m, tau in zip((0.25, 0.5, 0.5), taus, strict=True)]
    return base + total * (torch.stack(masks).sum(0) >= 2)


def dense_median(base: Tensor, taus: list[Tensor]) -> Tensor:
    return base + 0.5 * torch.stack(taus).median(0).values


def dense_trimmed_mean(base: Tensor, taus: list[Tensor]) -> Tensor:
    return base + 0.5 * torch.stack(taus).sort(0).values[1:-1].mean(0)


def dense_geometric_median(base: Tensor, taus: list[Tensor]) -> Tensor:
    center = torch.stack(taus).mean(0)
    for _ in range(100):
        pull = [1 / torch.linalg.vector_norm(center - tau) for tau in taus]
        center = sum(p * tau for p, tau in zip(pull, taus, strict=True)) / sum(pull)
    return base + 0.5 * center


def dense_multi_krum(base: Tensor, taus: list[Tensor]) -> Tensor:
    distances = torch.cdist(torch.stack(taus), torch.stack(taus)).square()
    nearest = distances.fill_diagonal_(torch.inf).amin(1)
    return base + 0.5 * sum(taus[int(index)] for index in nearest.argsort(stable=True)[:2]) / 2


def cosine(one: Tensor, other: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(one, dim=-1) * torch.linalg.vector_norm(other, dim=-1)
    return torch.where(length > 0, (one * other).sum(-1) / length.clamp(min=1e-300), 0.0)


def each_model_stock(name: str, base: Tensor, taus: list[Tensor], *, rows: bool) -> Tensor:
    if not base.numel():
        return base
    units = [tau.reshape(-1, tau.shape[-1]) if rows and tau.ndim else tau.reshape(1, -1) for tau in taus]
    pairs = [cosine(units[i], units[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    mean = torch.stack(pairs).mean(0).clamp(min=0)
    t = 3 * mean / (1 + 2 * mean)
    return base + (t[:, None] * torch.stack(units).mean(0)).reshape(base.shape)


def arc(t: float, one: Tensor, other: Tensor, parallel: float) -> Tensor:
    cos = float(cosine(one.flatten(), other.flatten()))
    if abs(cos) > parallel or not bool(one.any() and other.any()):
        return (1 - t) * one + t * other
    angle = math.acos(cos)
    return (math.sin((1 - t) * angle) * one + math.sin(t * angle) * other) / math.sin(angle)


def each_slerp(name: str, base: Tensor, taus: list[Tensor]) -> Tensor:
    return arc(0.3, base + taus[0], base + taus[1], 0.9995)


def each_nuslerp(name: str, base: Tensor, taus: list[Tensor]) -> Tensor:
    return base + arc(0.75, taus[0], taus[1], 1 - 1e-15)


def each_multislerp(name: str, base: Tensor, taus: list[Tensor]) -> Tensor:
    weights = [weight / sum(WEIGHTS) for weight in WEIGHTS]
    lengths = [torch.linalg.vector_norm(tau) for tau in taus]
    mean = sum(
        w * tau / length.clamp(min=1e-300) for w, tau, length in zip(weights, taus, lengths, strict=True)
    )
    direction = mean / torch.linalg.vector_norm(mean).clamp(min=1e-300)
    return base + direction * sum(w * length for w, length in zip(weights, lengths, strict=True))


def each_karcher(name: str, base: Tensor, taus: list[Tensor]) -> Tensor:
    if not base.numel():
        return base
    models = [base + tau for tau in taus]
    lengths = [torch.linalg.vector_norm(model) for model in models]
    units = [model / length for model, length in zip(models, lengths, strict=True)]
    mean = sum(units) / torch.linalg.vector_norm(sum(units))
    for _ in range(20):
        logs = []
        for unit in units:
            dot = (unit * mean).sum().clamp(-1, 1)
            rest = unit - dot * mean
            logs.append(torch.acos(dot) * rest / torch.linalg.vector_norm(rest).clamp(min=1e-300))
        step = sum(logs) / 3
        size = torch.linalg.vector_norm(step)
        mean = torch.cos(size) * mean + torch.sin(size) * step / size.clamp(min=1e-300)
    return mean * sum(lengths) / 3
