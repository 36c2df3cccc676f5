"""The rules of TIES that its paper leaves to the code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mergeward.checkpoint import InMemory, whole_tensors
from mergeward.errors import RecipeError
from mergeward.merge import StaticProblem, merge_static, method, schedule
from mergeward.merge.static import problem as parts
from static_merges import merge_states


def ties(
    base: Mapping[str, Tensor],
    taus: list[Mapping[str, Tensor]],
    per_model: list[Mapping[str, Any]] | None = None,
    **parameters: Any,
) -> dict[str, Tensor]:
    models = [{name: base[name] + tau[name] for name in base} for tau in taus]
    return merge_states("ties", base, models, parameters, per_model)


def one(taus: list[list[float]], **options: Any) -> list[float]:
    base = {"w": torch.zeros(len(taus[0]))}
    result: list[float] = ties(base, [{"w": torch.tensor(tau)} for tau in taus], **options)["w"].tolist()
    return result


def test_trimming_ranks_over_the_whole_scope_and_not_per_tensor() -> None:
    base = {"large": torch.zeros(5), "small": torch.zeros(5)}
    tau = {"large": torch.arange(10.0, 15.0), "small": torch.arange(1.0, 6.0)}
    result = ties(base, [tau], density=0.4, weight=1.0)
    assert result["large"].tolist() == [10.0, 11.0, 12.0, 13.0, 14.0]
    assert result["small"].tolist() == [0.0] * 5


def test_tensors_of_the_same_densities_are_ranked_together() -> None:
    base = {name: torch.zeros(5) for name in ("large", "small", "own")}
    values = {
        "large": torch.arange(10.0, 15.0),
        "small": torch.arange(1.0, 6.0),
        "own": torch.arange(6.0, 11.0),
    }
    some, more = ({"density": density, "weight": 1.0} for density in (0.4, 0.6))
    info = method("ties")
    settings = schedule(info, {}, [some])
    settings = replace(settings, by_tensor={"own": schedule(info, {}, [more]).default})
    models = [InMemory({name: base[name] + value for name, value in values.items()})]
    problem = StaticProblem(InMemory(base), models, list(base), ["one"])
    result = {
        key: value.tolist()
        for key, value in whole_tensors(problem.base, merge_static(problem, info, settings))
    }
    assert result == {
        "large": [10.0, 11.0, 12.0, 13.0, 14.0],
        "small": [0.0] * 5,
        "own": [0.0, 7.0, 8.0, 9.0, 10.0],
    }


def test_rank_is_that_of_the_authors_code() -> None:
    # d - int(d * density) = 8th smallest of 10: three are kept at density 0.2.
    assert one([[float(i) for i in range(1, 11)]], density=0.2, weight=1.0) == [0.0] * 7 + [8.0, 9.0, 10.0]


def test_coordinates_at_the_threshold_are_kept() -> None:
    assert one([[3.0, -3.0, 3.0, 1.0, 0.0]], density=0.2, weight=1.0) == [3.0, -3.0, 3.0, 0.0, 0.0]


def test_density_one_trims_nothing() -> None:
    assert one([[1e-30, 2.0, -3.0]], density=1.0, weight=1.0) == [
        float(torch.tensor(1e-30)), 2.0, -3.0,
    ]  # fmt: skip


def test_sign_is_elected_by_mass_and_not_by_count() -> None:
    assert one([[5.0], [-1.0], [-1.0]], density=1.0, weight=1.0) == [5.0]


def test_weights_take_part_in_the_election() -> None:
    per_model = [{"weight": 1.0}, {"weight": 4.0}]
    assert one([[3.0], [-1.0]], per_model=per_model, density=1.0) == [-4.0]


@pytest.mark.parametrize(("rest", "expected"), [([-7.0, -7.0], -2.0), ([7.0, -7.0], 2.0), ([7.0, 7.0], 2.0)])
def test_a_zero_sum_takes_the_majority_sign(rest: list[float], expected: float) -> None:
    merged = one([[2.0, *rest], [-2.0, *rest]], density=1.0, weight=1.0)
    assert merged[0] == expected


def test_the_majority_counts_every_tensor_of_the_scope() -> None:
    base = {"first": torch.zeros(1), "second": torch.zeros(3)}
    rest = torch.tensor([-1.0, -1.0, 1.0])
    taus = [{"first": torch.tensor([value]), "second": rest} for value in (2.0, -2.0)]
    assert ties(base, taus, density=1.0, weight=1.0)["first"].tolist() == [-2.0]


def test_equal_weights_cancel_exactly() -> None:
    # 0.3 * 0.1, 0.3 * 0.2 and 0.3 * -0.3 do not add up to zero in floating point; 1 + 2 - 3 does.
    taus = [[1.0, -1.0], [2.0, -1.0], [-3.0, -1.0]]
    assert one(taus, density=1.0, weight=0.3)[0] == pytest.approx(-0.9)


def test_the_mean_divides_by_the_weights_that_agree() -> None:
    taus = [[4.0], [2.0], [-1.0]]
    assert one(taus, density=1.0, weight=0.3, normalize=True) == [3.0]
    per_model = [{"weight": 1.0}, {"weight": 3.0}, {"weight": 1.0}]
    assert one(taus, per_model=per_model, density=1.0, normalize=True) == [2.5]


def test_the_mean_of_nothing_is_zero() -> None:
    assert one([[0.0, 1.0], [0.0, 1.0]], density=1.0, normalize=True) == [0.0, 1.0]
    assert one([[5.0], [5.0]], density=1.0, weight=0.0, normalize=True) == [0.0]


def test_the_mean_refuses_negative_weights() -> None:
    with pytest.raises(RecipeError, match=r"normalize.*-0\.5"):
        one([[1.0], [2.0]], per_model=[{"weight": 1.0}, {"weight": -0.5}], normalize=True)


def test_density_may_differ_between_models() -> None:
    per_model = [{"density": 1.0}, {"density": 0.2}]
    taus = [[1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0]]
    assert one(taus, per_model=per_model, weight=1.0) == [1.0, 2.0, 3.0, 8.0, 10.0]


@pytest.mark.parametrize("semantics", ["mergekit", "peft"])
def test_other_semantics_trim_each_tensor_to_an_exact_number(semantics: str) -> None:
    base = {"large": torch.zeros(5), "small": torch.zeros(5)}
    tau = {"large": torch.tensor([10.0, 10, 10, 1, 10]), "small": torch.tensor([1.0, -5, 2, 3, 4])}
    result = ties(base, [tau], density=0.4, weight=1.0, semantics=semantics)
    assert result["large"].tolist() == [10.0, 10.0, 0.0, 0.0, 0.0]
    assert result["small"].tolist() == [0.0, -5.0, 0.0, 0.0, 4.0]


@pytest.mark.parametrize("semantics", ["mergekit", "peft"])
def test_other_semantics_elect_plus_one_for_a_zero_sum(semantics: str) -> None:
    merged = one([[2.0, -7.0], [-2.0, -7.0]], density=1.0, weight=1.0, semantics=semantics)
    assert merged == [2.0, -7.0]


def test_peft_elects_without_weights_and_divides_by_the_count() -> None:
    per_model = [{"weight": 1.0}, {"weight": 4.0}, {"weight": 2.0}]
    taus = [[3.0], [-1.0], [2.0]]
    assert one(taus, per_model=per_model, density=1.0, semantics="peft") == [(3 + 4) / 2]
    assert one(taus, per_model=per_model, density=1.0, semantics="mergekit") == pytest.approx([7 / 3])


def test_the_maximum_is_taken_among_what_agrees() -> None:
    taus = [[4.0, -3.0], [2.0, -5.0], [-1.0, 1.0]]
    assert one(taus, density=1.0, weight=0.5, aggregation="max") == [2.0, -2.5]


def test_normalize_and_aggregation_may_not_contradict_each_other() -> None:
    assert one([[4.0], [2.0]], density=1.0, aggregation="mean", normalize=True) == [3.0]
    with pytest.raises(RecipeError, match="true contradicts aggregation: sum"):
        one([[1.0]], aggregation="sum", normalize=True)


def test_a_threshold_that_equal_values_share_is_cut_at_one_place_across_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "BLOCK", 7)
    tau = torch.tensor([1.0, 2.0, 3.0]).repeat(20)
    kept = ties({"w": torch.zeros(60)}, [{"w": tau}], density=0.5, weight=1.0, semantics="mergekit")["w"]
    assert torch.count_nonzero(kept == 3.0) == 20
    assert torch.nonzero(kept == 2.0).flatten().tolist() == [3 * index + 1 for index in range(10)]
