"""How far two merges of the same models are apart, element by element."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Difference:
    """Ours and a peer's merge of the same models.

    Attributes:
        largest: Largest absolute difference of two elements.
        relative: The same in units of the largest change that the peer made to the base.
        agreement: Share of the compared elements that differ by no more than a given rounding.
        compared: How many elements were compared.
        remarks: What else differs: names, types, tensors that are not floating.
    """

    largest: float
    relative: float
    agreement: float
    compared: int
    remarks: tuple[str, ...] = ()


def difference(
    ours: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    *,
    rounding: float,
    kept_only: bool = False,
) -> Difference:
    """Compare two merges.

    Args:
        ours: Our tensors.
        theirs: The peer's.
        base: The base's, which says what was changed.
        rounding: Largest difference that counts as agreement.
        kept_only: Compare only elements that both changed; the share that each changed becomes a remark.

    Raises:
        ValueError: The two have no floating tensor in common, or no element to compare.
    """
    common = [name for name in base if name in ours and name in theirs and base[name].is_floating_point()]
    if not common:
        raise ValueError("no floating tensor in common")
    own, other, start = (
        torch.cat([one[name].double().flatten() for name in common]) for one in (ours, theirs, base)
    )
    remarks = _remarks(ours, theirs, base)
    if kept_only:
        shares = [float((one != start).double().mean()) for one in (own, other)]
        remarks.append(f"of all elements ours changed {shares[0]:.3f}, the peer {shares[1]:.3f}")
        both = (own != start) & (other != start)
        own, other, start = own[both], other[both], start[both]
    if not len(own):
        raise ValueError("no element to compare")
    apart = (own - other).abs()
    largest, change = float(apart.max()), float((other - start).abs().max())
    return Difference(
        largest,
        largest / change if change else 0.0,
        float((apart <= rounding).double().mean()),
        len(own),
        tuple(remarks),
    )


def _remarks(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], base: Mapping[str, Tensor]
) -> list[str]:
    remarks = [f"no tensor {name} in the peer's output" for name in base if name not in theirs]
    remarks += [f"no tensor {name} in ours" for name in base if name not in ours]
    for name, tensor in base.items():
        for who, output in (("ours", ours), ("the peer", theirs)):
            found = output.get(name)
            if found is None or tensor.is_floating_point():
                continue
            if found.dtype != tensor.dtype:
                kind = str(found.dtype).removeprefix("torch.")
                remarks.append(f"{who} made {name} {kind}")
            elif not torch.equal(found, tensor):
                remarks.append(f"{who} changed {name}")
    return remarks
