"""What every static method keeps to: one row a method, every row through the same checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import matrix_references
from mergeward.checkpoint import InMemory, TensorSource, check_compatible, open_checkpoint, resolve_scope
from mergeward.errors import CheckpointError, UnsupportedError
from mergeward.merge import MethodInfo, methods
from mergeward.merge.static.draws import bernoulli
from mergeward.merge.static.problem import BLOCK
from mergeward.seeding import numpy_generator
from static_merges import merge_states
from toy_models import BUFFERS, base_state, save_folder, tuned_states

State = dict[str, Tensor]
Dense = Callable[[Tensor, list[Tensor]], Tensor]
"""Merges flat float64 vectors of a whole scope: base, task vectors -> merged."""


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
        [tau * top(tau, int(density * tau.numel())) for tau, density in zip(taus, densities, strict=True)]
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


Each = Callable[[str, Tensor, list[Tensor]], Tensor]
"""Merges one tensor in float64, in its shape: name, base, task vectors -> merged."""


@dataclass(frozen=True)
class Row:
    """One method with settings that are not its defaults, and the same in dense float64."""

    method: str
    reference: Dense | None
    per_model: Sequence[Mapping[str, Any]]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    each: Each | None = None
    """In the reference's place, for a method that looks at one tensor at a time."""


TIES_MODELS = ({"weight": 0.25}, {"weight": 0.375}, {"weight": 0.5, "density": 0.6})
MODELS = [{"weight": w, "density": d} for w, d in zip(WEIGHTS, DENSITIES, strict=True)]
ROWS = {
    "average": Row("average", dense_average, ({"weight": 1}, {"weight": 2}, {"weight": 0.5})),
    "task_arithmetic": Row(
        "task_arithmetic", dense_task_arithmetic, ({}, {"weight": -0.2}, {"weight": 0.5}), {"lambda": 0.8}
    ),
    "ties": Row("ties", dense_ties, TIES_MODELS, {"lambda": 1.5}),
    "ties-mean": Row("ties", dense_ties_mean, TIES_MODELS, {"lambda": 1.5, "normalize": True}),
    "ties-max": Row("ties", dense_ties_max, ({"density": 1, "weight": 0.5},) * 3, {"aggregation": "max"}),
    **{
        f"ties-{semantics}": Row(
            "ties",
            None,
            TIES_MODELS,
            {"lambda": 1.5, "semantics": semantics},
            partial(each_ties, peft=semantics == "peft"),
        )
        for semantics in ("mergekit", "peft")
    },
    **{
        f"{name}-{semantics}": Row(
            name,
            None,
            MODELS,
            {"lambda": 1.5, "semantics": semantics, "normalize": name.endswith("_ties")},
            partial(each_dare, elect=name.endswith("_ties"), l1=semantics == "mergekit"),
        )
        for name in ("dare_linear", "dare_ties")
        for semantics in ("reference", "mergekit")
    },
    **{
        f"{name}-{semantics}": Row(
            name,
            None,
            [{**model, "density": d, "gamma": 0.3} for model, d in zip(MODELS, BANDS, strict=True)],
            {"lambda": 1.5, "semantics": semantics},
            partial(each_breadcrumbs, elect=name.endswith("_ties"), rows=semantics == "reference"),
        )
        for name in ("breadcrumbs", "breadcrumbs_ties")
        for semantics in ("reference", "mergekit")
    },
    **{
        f"{name}-{semantics}": Row(
            name,
            None,
            [{**model, "epsilon": 0.05} for model in MODELS],
            {"lambda": 1.5, "semantics": semantics},
            partial(each_della, elect=name == "della", l1=semantics == "mergekit"),
        )
        for name in ("della", "della_linear")
        for semantics in ("reference", "mergekit")
    },
    "magmax": Row("magmax", dense_magmax, [{"weight": w} for w in WEIGHTS], {"lambda": 1.5}),
    "consensus": Row(
        "consensus",
        dense_consensus,
        [{"weight": w, "mask_lambda": m} for w, m in zip(WEIGHTS, (0.25, 0.5, 0.5), strict=True)],
        {"lambda": 1.5},
    ),
    "model_stock": Row("model_stock", None, [{}] * 3, {}, partial(each_model_stock, rows=False)),
    "model_stock-rows": Row(
        "model_stock", None, [{}] * 3, {"filter_wise": True}, partial(each_model_stock, rows=True)
    ),
    "slerp": Row("slerp", None, [{}] * 2, {"t": 0.3}, each_slerp),
    "nuslerp": Row("nuslerp", None, [{"weight": 1}, {"weight": 3}], {}, each_nuslerp),
    "multislerp": Row("multislerp", None, [{"weight": w} for w in WEIGHTS], {}, each_multislerp),
    "karcher": Row("karcher", None, [{}] * 3, {"max_iter": 20, "tol": 1e-9}, each_karcher),
    "tsv_m": Row("tsv_m", None, [{}] * 3, {"lambda": 0.5}, matrix_references.tsv_m),
    "iso_c": Row("iso_c", None, [{}] * 3, {"lambda": 0.5}, matrix_references.iso_c),
    "iso_cts": Row(
        "iso_cts", None, [{}] * 3, {"lambda": 0.5, "common_fraction": 0.5}, matrix_references.iso_cts
    ),
    "wudi": Row("wudi", None, [{}] * 3, {"lr": 1e-5, "steps": 5, "exclude": "embed"}, matrix_references.wudi),
    "emr": Row("emr", matrix_references.emr, [{}] * 3),
    "pcb": Row("pcb", matrix_references.pcb, [{}] * 3, {"lambda": 0.5, "ratio": 0.25}),
    "knots": Row(
        "knots",
        None,
        [{"weight": w} for w in WEIGHTS],
        {"lambda": 1.5, "density": 0.4},
        matrix_references.knots,
    ),
    "median": Row("median", dense_median, [{}] * 3, {"lambda": 0.5}),
    "trimmed_mean": Row("trimmed_mean", dense_trimmed_mean, [{}] * 3, {"lambda": 0.5, "trim": 0.3}),
    "geometric_median": Row("geometric_median", dense_geometric_median, [{}] * 3, {"lambda": 0.5}),
    "multi_krum": Row("multi_krum", dense_multi_krum, [{}] * 3, {"lambda": 0.5, "selected": 2}),
}

every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
every_method = pytest.mark.parametrize(
    "info", [info for info in methods() if info.kind == "static"], ids=lambda info: info.name
)


def merged(
    row: Row, base: TensorSource, contributions: Sequence[TensorSource], dtype: torch.dtype | None = None
) -> State:
    return merge_states(row.method, base, contributions, row.parameters, row.per_model, dtype=dtype)


def merged_by_default(
    info: MethodInfo, base: State, tuned: Sequence[State], scope: Sequence[str] | None = None
) -> State:
    return merge_states(info.name, base, tuned, scope=scope)


def assert_same_bits(first: State, second: State) -> None:
    assert list(first) == list(second)
    for name, value in first.items():
        assert value.dtype == second[name].dtype, name
        assert torch.equal(value, second[name]), name


def expected(row: Row, base: State, tuned: Sequence[State]) -> State:
    names = [name for name, value in base.items() if value.is_floating_point()]

    def flat(state: State) -> Tensor:
        return torch.cat([state[name].float().flatten() for name in names])

    if row.each is not None:
        deltas = {
            name: [(state[name].float() - base[name].float()).double() for state in tuned] for name in names
        }
        return {name: row.each(name, base[name].double(), deltas[name]) for name in names}
    assert row.reference is not None
    origin = flat(base)
    result = row.reference(origin.double(), [(flat(state) - origin).double() for state in tuned])
    parts = result.split([base[name].numel() for name in names])
    return {name: part.reshape(base[name].shape) for name, part in zip(names, parts, strict=True)}


def contributions(info: MethodInfo, wanted: int) -> int:
    """As many contributions as wanted, or the nearest number that the method is defined for."""
    wanted = max(wanted, info.min_contributions)
    return wanted if info.max_contributions is None else min(wanted, info.max_contributions)


def test_every_static_method_has_a_row() -> None:
    assert {row.method for row in ROWS.values()} == {info.name for info in methods() if info.kind == "static"}


@every_row
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_agrees_with_dense_float64(row: Row, dtype: torch.dtype) -> None:
    base = base_state(dtype)
    tuned = tuned_states(base, len(row.per_model))
    result = merged(row, InMemory(base), [InMemory(state) for state in tuned])
    reference = expected(row, base, tuned)
    for name, value in reference.items():
        assert result[name].dtype == dtype
        # Half the gap to the next number of the output type, and the rounding of float32 arithmetic.
        torch.testing.assert_close(
            result[name].double(), value, rtol=torch.finfo(dtype).eps * 0.5 + 4e-7, atol=4e-7
        )


@every_row
def test_output_type_is_the_one_asked_for_and_rounded_once(row: Row) -> None:
    base = base_state()
    sources = [InMemory(state) for state in tuned_states(base, len(row.per_model))]
    exact = merged(row, InMemory(base), sources)
    half = merged(row, InMemory(base), sources, torch.bfloat16)
    assert_same_bits(
        half, {name: v.to(torch.bfloat16) if v.is_floating_point() else v for name, v in exact.items()}
    )


@every_row
def test_files_shards_and_memory_give_the_same_bits(row: Row, tmp_path: Path) -> None:
    base = base_state()
    tuned = tuned_states(base, len(row.per_model))
    single = [save_folder(tmp_path / f"single-{i}", state) for i, state in enumerate([base, *tuned])]
    sharded = [
        save_folder(tmp_path / f"sharded-{i}", state, shards=3) for i, state in enumerate([base, *tuned])
    ]
    first, *others = (open_checkpoint(path) for path in single)
    from_files = merged(row, first, others)
    from_memory = merged(row, InMemory(base), [InMemory(state) for state in tuned])
    shard_base, *shard_others = (open_checkpoint(path) for path in sharded)
    from_shards = merged(row, shard_base, shard_others)
    assert list(from_files) == list(first.tensors)
    assert_same_bits(from_files, {name: from_memory[name] for name in from_files})
    assert_same_bits(from_files, {name: from_shards[name] for name in from_files})


@every_row
def test_any_number_of_threads_gives_the_same_bits(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    base = base_state()
    sources = [InMemory(state) for state in tuned_states(base, len(row.per_model))]
    results = []
    for threads in (1, 3):
        monkeypatch.setenv("MERGEWARD_THREADS", str(threads))
        results.append(merged(row, InMemory(base), sources))
    assert_same_bits(results[0], results[1])


@every_method
def test_integer_buffers_are_the_bases(info: MethodInfo) -> None:
    base = base_state()
    result = merged_by_default(info, base, tuned_states(base, contributions(info, 2)), ["embed.weight"])
    for name, buffer in BUFFERS.items():
        assert result[name].dtype == buffer.dtype
        assert torch.equal(result[name], buffer)


@every_method
def test_tensors_outside_the_scope_are_the_bases(info: MethodInfo) -> None:
    base = base_state()
    result = merged_by_default(info, base, tuned_states(base, 1) * contributions(info, 2), ["embed.weight"])
    assert not torch.equal(result["embed.weight"], base["embed.weight"])
    assert_same_bits(
        {name: value for name, value in result.items() if name != "embed.weight"},
        {name: value for name, value in base.items() if name != "embed.weight"},
    )


@every_method
def test_contributions_equal_to_the_base_give_the_base(info: MethodInfo) -> None:
    base = base_state()
    result = merged_by_default(info, base, [base] * contributions(info, 3))
    assert_same_bits(result, base)


@every_method
def test_inputs_are_not_written_to(info: MethodInfo) -> None:
    base = base_state()
    tuned = tuned_states(base, contributions(info, 2))
    before = [{name: value.clone() for name, value in state.items()} for state in (base, *tuned)]
    merged_by_default(info, base, tuned)
    for state, copy in zip((base, *tuned), before, strict=True):
        assert_same_bits(state, copy)


@every_method
def test_infinity_in_a_contribution_is_refused_by_name(info: MethodInfo) -> None:
    base = base_state()
    tuned = tuned_states(base, contributions(info, 2))
    tuned[1]["embed.weight"][2, 3] = float("inf")
    with pytest.raises(CheckpointError, match=r"embed\.weight.*infinity"):
        merged_by_default(info, base, tuned)


def generous(info: MethodInfo) -> dict[str, float]:
    """Settings that leave most of a single number."""
    wanted = {"weight": 1.0, "density": 1.0, "gamma": 0.0, "ratio": 1.0}
    known = {*info.parameters.model_fields, *info.model_parameters.model_fields}
    return {key: value for key, value in wanted.items() if key in known}


@every_method
def test_a_result_that_does_not_fit_its_type_is_refused(info: MethodInfo) -> None:
    base = {"w": torch.zeros(2, 2)}
    tuned = {"w": torch.tensor([[3e38, 3e38], [1.0, 2.0]])}
    with pytest.raises(UnsupportedError, match=r"'w'.*float16"):
        merge_states(info.name, base, [tuned] * contributions(info, 1), generous(info), dtype=torch.float16)


@every_method
def test_mismatched_shapes_are_refused_before_any_work(info: MethodInfo) -> None:
    base = base_state()
    tuned = tuned_states(base, contributions(info, 2))
    tuned[1]["embed.weight"] = torch.zeros(12, 7)
    sources = [InMemory(state, name=f"model-{i}") for i, state in enumerate(tuned)]
    with pytest.raises(CheckpointError, match=r"model-1: 'embed\.weight' has shape \[12, 7\]"):
        check_compatible(InMemory(base), sources, resolve_scope("all", InMemory(base)))
