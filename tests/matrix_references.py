"""The methods that look at whole matrices, plainly: float64, and full singular value decompositions."""

from __future__ import annotations

import torch
from torch import Tensor


def polar(matrix: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


def is_matrix(base: Tensor) -> bool:
    return base.ndim == 2 and base.numel() > 0


def tsv_m(name: str, base: Tensor, taus: list[Tensor]) -> Tensor:
    if not is_matrix(base):
        return base + 0.5 * sum(taus) / len(taus)
    rank = min(base.shape) // len(taus)
    parts = [torch.linalg.svd(tau, full_matrices=False) for tau in taus]
    left = polar(torch.cat([u[:, :rank] for u, _, _ in parts], dim=1))
    right = polar(torch.cat([v[:rank] for _, _, v in parts]))
    return base + 0.5 * left @ torch.diag(torch.cat([s[:rank] for _, s, _ in parts])) @ right


def iso_c(name: str, base: Tensor, taus: list[Tensor]) -> Tensor:
    if not is_matrix(base):
        return base + 0.5 * sum(taus) / len(taus)
    total = sum(taus)
    return base + 0.5 * torch.linalg.svdvals(total).mean() * polar(total)


def iso_cts(name: str, base: Tensor, taus: list[Tensor]) -> Tensor:
    if not is_matrix(base):
        return base + 0.5 * sum(taus) / len(taus)
    size, count = min(base.shape), len(taus)
    own = round((size - int(size * 0.5)) / count)
    common = size - own * count
    u, s, v = torch.linalg.svd(sum(taus), full_matrices=False)
    lefts, values, rights = [u[:, :common]], [s[:common]], [v[:common]]
    for tau in taus:
        rest = tau - u[:, :common] @ u[:, :common].T @ tau
        own_u, own_s, own_v = torch.linalg.svd(rest, full_matrices=False)
        lefts.append(own_u[:, :own])
        values.append(own_s[:own])
        rights.append(own_v[:own])
    return base + 0.5 * torch.cat(values).mean() * polar(torch.cat(lefts, dim=1)) @ polar(torch.cat(rights))


def wudi(name: str, base: Tensor, taus: list[Tensor]) -> Tensor:
    if not is_matrix(base) or "embed" in name:
        return base
    matrix = sum(taus).clone().requires_grad_(True)
    optimiser = torch.optim.Adam([matrix], lr=1e-5)
    for _ in range(5):
        optimiser.zero_grad()
        loss = sum(
            torch.linalg.matrix_norm((matrix - tau) @ tau.T).square() / tau.square().sum() for tau in taus
        )
        loss.backward()
        optimiser.step()
    return base + matrix.detach()


def knots(name: str, base: Tensor, taus: list[Tensor]) -> Tensor:
    weights = (0.25, 0.375, 0.5)
    if not is_matrix(base):
        return base + 1.5 * sum(weight * tau for weight, tau in zip(weights, taus, strict=True))
    u, s, v = torch.linalg.svd(torch.cat(taus, dim=1), full_matrices=False)
    cast = []
    for weight, own in zip(weights, v.split(base.shape[1], dim=1), strict=True):
        threshold = own.abs().flatten().kthvalue(own.numel() - int(own.numel() * 0.4)).values
        cast.append(weight * own * (own.abs() >= threshold))
    stacked = torch.stack(cast)
    agrees = torch.sign(stacked) == torch.sign(stacked.sum(0))
    mass = (torch.tensor(weights).double()[:, None, None] * agrees).sum(0)
    aligned = torch.where(mass > 0, (stacked * agrees).sum(0) / mass, 0.0)
    return base + 1.5 * u @ torch.diag(s) @ aligned


def emr(base: Tensor, taus: list[Tensor]) -> Tensor:
    stacked = torch.stack(taus)
    sign = torch.where(stacked.sum(0) > 0, 1.0, -1.0)
    return base + sign * (stacked * sign).clamp(min=0).amax(0)


def pcb(base: Tensor, taus: list[Tensor]) -> Tensor:
    stacked = torch.stack(taus)
    size = stacked.shape[1]
    magnitudes = stacked.abs()
    ordered = magnitudes.sort(dim=1).values
    low, high = ordered[:, int(size * 1e-4), None], ordered[:, int(size * (1 - 1e-4) - 1), None]
    clamped = magnitudes.clamp(low, high)
    own = torch.exp(len(taus) * ((clamped - low) / (high - low)) ** 2)
    worth = own * torch.tanh(stacked * stacked.sum(0))
    least = worth.sort(dim=1).values[:, int(size * 0.75), None]
    share = ((worth.clamp(min=least) - least) / (worth.amax(1, keepdim=True) - least)).clamp(min=0)
    return base + 0.5 * (stacked.sign() * clamped * share).sum(0) / share.sum(0).clamp(min=1e-12)
