"""What every static method keeps to: one row a method, every row through the same checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mergeward.checkpoint import InMemory, TensorSource, check_compatible, open_checkpoint, resolve_scope
from mergeward.errors import CheckpointError, UnsupportedError
from mergeward.merge import MethodInfo, methods
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


@dataclass(frozen=True)
class Row:
    """One method with settings that are not its defaults, and the same in dense float64."""

    method: str
    reference: Dense
    per_model: Sequence[Mapping[str, Any]]
    parameters: Mapping[str, Any] = field(default_factory=dict)


TIES_MODELS = ({"weight": 0.25}, {"weight": 0.375}, {"weight": 0.5, "density": 0.6})
ROWS = {
    "average": Row("average", dense_average, ({"weight": 1}, {"weight": 2}, {"weight": 0.5})),
    "task_arithmetic": Row(
        "task_arithmetic", dense_task_arithmetic, ({}, {"weight": -0.2}, {"weight": 0.5}), {"lambda": 0.8}
    ),
    "ties": Row("ties", dense_ties, TIES_MODELS, {"lambda": 1.5}),
    "ties-mean": Row("ties", dense_ties_mean, TIES_MODELS, {"lambda": 1.5, "normalize": True}),
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

    origin = flat(base)
    result = row.reference(origin.double(), [(flat(state) - origin).double() for state in tuned])
    parts = result.split([base[name].numel() for name in names])
    return {name: part.reshape(base[name].shape) for name, part in zip(names, parts, strict=True)}


def test_every_static_method_has_a_row() -> None:
    assert {row.method for row in ROWS.values()} == {info.name for info in methods() if info.kind == "static"}


@every_row
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_agrees_with_dense_float64(row: Row, dtype: torch.dtype) -> None:
    base = base_state(dtype)
    tuned = tuned_states(base, 3)
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
    sources = [InMemory(state) for state in tuned_states(base, 3)]
    exact = merged(row, InMemory(base), sources)
    half = merged(row, InMemory(base), sources, torch.bfloat16)
    assert_same_bits(
        half, {name: v.to(torch.bfloat16) if v.is_floating_point() else v for name, v in exact.items()}
    )


@every_row
def test_files_shards_and_memory_give_the_same_bits(row: Row, tmp_path: Path) -> None:
    base = base_state()
    tuned = tuned_states(base, 3)
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
    sources = [InMemory(state) for state in tuned_states(base, 3)]
    results = []
    for threads in (1, 3):
        monkeypatch.setenv("MERGEWARD_THREADS", str(threads))
        results.append(merged(row, InMemory(base), sources))
    assert_same_bits(results[0], results[1])


@every_method
def test_integer_buffers_are_the_bases(info: MethodInfo) -> None:
    base = base_state()
    result = merged_by_default(info, base, tuned_states(base, 2), ["embed.weight"])
    for name, buffer in BUFFERS.items():
        assert result[name].dtype == buffer.dtype
        assert torch.equal(result[name], buffer)


@every_method
def test_tensors_outside_the_scope_are_the_bases(info: MethodInfo) -> None:
    base = base_state()
    result = merged_by_default(info, base, tuned_states(base, 2), ["embed.weight"])
    assert not torch.equal(result["embed.weight"], base["embed.weight"])
    assert_same_bits(
        {name: value for name, value in result.items() if name != "embed.weight"},
        {name: value for name, value in base.items() if name != "embed.weight"},
    )


@every_method
def test_contributions_equal_to_the_base_give_the_base(info: MethodInfo) -> None:
    base = base_state()
    result = merged_by_default(info, base, [base, base, base])
    assert_same_bits(result, base)


@every_method
def test_inputs_are_not_written_to(info: MethodInfo) -> None:
    base = base_state()
    tuned = tuned_states(base, 2)
    before = [{name: value.clone() for name, value in state.items()} for state in (base, *tuned)]
    merged_by_default(info, base, tuned)
    for state, copy in zip((base, *tuned), before, strict=True):
        assert_same_bits(state, copy)


@every_method
def test_infinity_in_a_contribution_is_refused_by_name(info: MethodInfo) -> None:
    base = base_state()
    tuned = tuned_states(base, 2)
    tuned[1]["embed.weight"][2, 3] = float("inf")
    with pytest.raises(CheckpointError, match=r"embed\.weight.*infinity"):
        merged_by_default(info, base, tuned)


@every_method
def test_a_result_that_does_not_fit_its_type_is_refused(info: MethodInfo) -> None:
    base = {"w": torch.tensor([0.0])}
    tuned = {"w": torch.tensor([3e38])}
    with pytest.raises(UnsupportedError, match=r"'w'.*float16"):
        merge_states(info.name, base, [tuned], {"weight": 1.0}, dtype=torch.float16)


@every_method
def test_mismatched_shapes_are_refused_before_any_work(info: MethodInfo) -> None:
    base = base_state()
    tuned = tuned_states(base, 2)
    tuned[1]["embed.weight"] = torch.zeros(12, 7)
    sources = [InMemory(state, name=f"model-{i}") for i, state in enumerate(tuned)]
    with pytest.raises(CheckpointError, match=r"model-1: 'embed\.weight' has shape \[12, 7\]"):
        check_compatible(InMemory(base), sources, resolve_scope("all", InMemory(base)))
