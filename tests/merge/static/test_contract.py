"""What every static method keeps to: one row a method, every row through the same checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import matrix_references
from dense_references import (
    BANDS,
    DENSITIES,
    WEIGHTS,
    dense_average,
    dense_consensus,
    dense_geometric_median,
    dense_magmax,
    dense_median,
    dense_multi_krum,
    dense_task_arithmetic,
    dense_ties,
    dense_ties_max,
    dense_ties_mean,
    dense_trimmed_mean,
    each_breadcrumbs,
    each_dare,
    each_della,
    each_karcher,
    each_model_stock,
    each_multislerp,
    each_nuslerp,
    each_slerp,
    each_ties,
)
from mergeward.checkpoint import InMemory, TensorSource, check_compatible, open_checkpoint, resolve_scope
from mergeward.errors import CheckpointError, UnsupportedError
from mergeward.merge import MethodInfo, methods
from static_merges import merge_states
from toy_models import BUFFERS, base_state, save_folder, tuned_states

State = dict[str, Tensor]
Dense = Callable[[Tensor, list[Tensor]], Tensor]
"""Merges flat float64 vectors of a whole scope: base, task vectors -> merged."""
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
