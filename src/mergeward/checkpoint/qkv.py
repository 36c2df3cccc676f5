"""Queries, keys and values of attention: three tensors, or one that holds them one below the other.

Methods that look at whole matrices (singular values, per-tensor trims and means) give another result on the
one than on the other, so which of the two a merge sees is a choice and not a detail.
"""

from __future__ import annotations

from mergeward.checkpoint.source import TensorSource
from mergeward.checkpoint.views import Arrangement, Cut, Rearranged
from mergeward.errors import CheckpointError

PROJECTIONS = ("q_proj", "k_proj", "v_proj")
_FUSED = {"in_proj_weight": "weight", "in_proj_bias": "bias"}


def split_names(name: str) -> tuple[str, str, str] | None:
    """Return the names of the three tensors that a fused one holds; None for any other tensor.

    Example:
        >>> split_names("attn.in_proj_bias")
        ('attn.q_proj.bias', 'attn.k_proj.bias', 'attn.v_proj.bias')
    """
    stem, dot, last = name.rpartition(".")
    if last not in _FUSED:
        return None
    q, k, v = (f"{stem}{dot}{projection}.{_FUSED[last]}" for projection in PROJECTIONS)
    return q, k, v


def fused_name(name: str) -> str | None:
    """Return the name of the fused tensor that holds this one; None for any other tensor.

    Example:
        >>> fused_name("self_attn.k_proj.weight")
        'self_attn.in_proj_weight'
    """
    stem, _, last = name.rpartition(".")
    stem, dot, projection = stem.rpartition(".")
    if projection not in PROJECTIONS or last not in _FUSED.values():
        return None
    return f"{stem}{dot}in_proj_{last}"


def split_qkv(source: TensorSource) -> Rearranged:
    """See a model with separate queries, keys and values.

    Args:
        source: The model; `*.in_proj_weight` `[3 d, e]` becomes `*.q_proj.weight`, `*.k_proj.weight` and
            `*.v_proj.weight`, each `[d, e]`, and biases likewise. Everything else stays as it is.

    Raises:
        CheckpointError: The rows of a fused tensor are not a multiple of three.
    """
    plan: dict[str, Arrangement] = {}
    for name in source.tensors:
        names = split_names(name)
        plan |= {name: Arrangement((Cut(name),))} if names is None else split_plan(source, name, names)
    return Rearranged(source, plan)


def split_plan(source: TensorSource, name: str, names: tuple[str, str, str]) -> dict[str, Arrangement]:
    """Return what three tensors are made of, which a fused one holds.

    Args:
        source: The model.
        name: The fused tensor.
        names: What to call the three.

    Raises:
        CheckpointError: Its rows are not a multiple of three.
    """
    shape = source.tensors[name].shape
    if not shape or shape[0] % 3:
        raise CheckpointError(
            f"{source.name}: tensor {name!r} has shape {list(shape)}; expected queries, keys and values, "
            f"three times as many rows as each"
        )
    rows = shape[0] // 3
    return {
        part: Arrangement((Cut(name, (index * rows, (index + 1) * rows)),))
        for index, part in enumerate(names)
    }


def fuse_qkv(source: TensorSource) -> Rearranged:
    """See a model with queries, keys and values in one tensor; the inverse of `split_qkv`.

    Args:
        source: The model; `*.q_proj.weight`, `*.k_proj.weight` and `*.v_proj.weight`, each `[d, e]`, become
            `*.in_proj_weight` `[3 d, e]`, in the place of the first of them. Everything else stays as it is.

    Raises:
        CheckpointError: One of three is missing, or they are not of one shape (as in grouped-query attention,
            which has no fused form to come back from).
    """
    plan: dict[str, Arrangement] = {}
    for name, info in source.tensors.items():
        fused = fused_name(name)
        if fused is None:
            plan[name] = Arrangement((Cut(name),))
        elif fused not in plan:
            names = split_names(fused)
            assert names is not None  # noqa: S101 - it is the name of a fused tensor
            for part in names:
                if part in source.tensors and source.tensors[part].shape != info.shape:
                    raise CheckpointError(f"{source.name}: tensor {part!r} is not of the shape of {name!r}")
            plan[fused] = Arrangement(tuple(map(Cut, names)))
    return Rearranged(source, plan)
