"""What static merges must satisfy on any input; values are small whole numbers, so that sums are exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mergeward.merge import method
from static_merges import merge_states

SIZE = 12
vectors = st.lists(st.integers(-8, 8), min_size=SIZE, max_size=SIZE)
task_vectors = st.lists(vectors, min_size=1, max_size=4)
densities = st.sampled_from([0.05, 0.2, 0.5, 0.9, 1.0])
some_examples = settings(max_examples=20)
adding = pytest.mark.parametrize("name", ["task_arithmetic", "ties"])


def merge(name: str, taus: Sequence[Sequence[float]], base: float = 0.0, **parameters: Any) -> Tensor:
    origin = torch.full((SIZE,), base)
    return merge_models(name, origin, [origin + torch.tensor(tau) for tau in taus], parameters)


def merge_models(name: str, base: Tensor, models: Sequence[Tensor], parameters: Mapping[str, Any]) -> Tensor:
    return merge_states(name, {"w": base}, [{"w": model} for model in models], parameters)["w"]


@pytest.mark.parametrize("name", ["task_arithmetic", "ties"])
@some_examples
@given(taus=task_vectors, data=st.data())
def test_order_of_contributions_does_not_matter(
    name: str, taus: list[list[int]], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(taus))
    assert torch.equal(merge(name, taus, weight=0.5), merge(name, shuffled, weight=0.5))


@some_examples
@given(taus=task_vectors, data=st.data())
def test_order_matters_to_the_average_by_rounding_only(taus: list[list[int]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(taus))
    torch.testing.assert_close(merge("average", taus), merge("average", shuffled), rtol=0, atol=4e-6)


@adding
@some_examples
@given(taus=task_vectors, density=densities)
def test_a_zero_task_vector_adds_nothing(name: str, taus: list[list[int]], density: float) -> None:
    options = {"density": density} if name == "ties" else {}
    assert torch.equal(merge(name, taus, **options), merge(name, [*taus, [0] * SIZE], **options))


@adding
@some_examples
@given(taus=task_vectors, power=st.integers(-6, 6))
def test_scaled_task_vectors_give_a_scaled_result(name: str, taus: list[list[int]], power: int) -> None:
    factor = 2.0**power
    scaled = [[factor * value for value in tau] for tau in taus]
    assert torch.equal(merge(name, taus) * factor, merge(name, scaled))


@adding
@some_examples
@given(taus=task_vectors)
def test_lambda_and_weight_are_factors(name: str, taus: list[list[int]]) -> None:
    assert torch.equal(merge(name, taus, weight=0.5), merge(name, taus, weight=1.0, **{"lambda": 0.5}))


@adding
@some_examples
@given(tau=vectors)
def test_one_whole_contribution_is_itself(name: str, tau: list[int]) -> None:
    options = {"density": 1.0} if name == "ties" else {}
    assert merge(name, [tau], base=16.0, weight=1.0, **options).tolist() == [16.0 + value for value in tau]


@some_examples
@given(model=st.lists(st.floats(-1e6, 1e6, width=32), min_size=SIZE, max_size=SIZE), count=st.integers(1, 5))
def test_the_average_of_equal_models_is_that_model_bit_by_bit(model: list[float], count: int) -> None:
    values = torch.tensor(model, dtype=torch.float32)
    assert torch.equal(merge_models("average", torch.ones(SIZE), [values] * count, {}), values)


@some_examples
@given(taus=task_vectors)
def test_ties_flips_with_its_task_vectors(taus: list[list[int]]) -> None:
    stacked = torch.tensor(taus)
    assume(not bool(((stacked.sum(0) == 0) & (stacked.abs().sum(0) > 0)).any()))
    negated = [[-value for value in tau] for tau in taus]
    assert torch.equal(merge("ties", negated, density=1.0), -merge("ties", taus, density=1.0))


@some_examples
@given(tau=vectors, density=densities)
def test_ties_keeps_the_largest_and_all_that_equal_the_smallest_kept(tau: list[int], density: float) -> None:
    kept = merge("ties", [tau], density=density, weight=1.0)
    magnitudes = sorted((abs(value) for value in tau), reverse=True)
    smallest = 0 if density == 1.0 else magnitudes[int(SIZE * density)]
    assert kept.tolist() == [float(value) if abs(value) >= smallest else 0.0 for value in tau]


ONE_BY_ONE = {
    "dare_linear": {},
    "dare_ties": {},
    "della": {"normalize": False},
    "della_linear": {},
    "breadcrumbs": {"gamma": 0.1},
    "breadcrumbs_ties": {"gamma": 0.1},
    "magmax": {},
    "consensus": {"agreement": 1},
    "median": {},
    "trimmed_mean": {},
}
one_by_one = pytest.mark.parametrize("name", ONE_BY_ONE)


def named(name: str, taus: Mapping[str, Sequence[float]]) -> Tensor:
    base = {"w": torch.zeros(SIZE)}
    models = [{"w": torch.tensor(tau, dtype=torch.float32)} for tau in taus.values()]
    density = {"density": 0.5} if "density" in method(name).model_parameters.model_fields else {}
    return merge_states(name, base, models, {**density, **ONE_BY_ONE[name]}, names=list(taus))["w"]


@one_by_one
@some_examples
@given(taus=st.lists(vectors, min_size=2, max_size=4), data=st.data())
def test_contributions_may_come_in_any_order(name: str, taus: list[list[int]], data: st.DataObject) -> None:
    given_order = {str(index): tau for index, tau in enumerate(taus)}
    shuffled = dict(data.draw(st.permutations(list(given_order.items()))))
    torch.testing.assert_close(named(name, given_order), named(name, shuffled), rtol=1e-6, atol=1e-5)


@one_by_one
@some_examples
@given(taus=st.lists(vectors, min_size=2, max_size=4), power=st.integers(-6, 6))
def test_twice_the_task_vectors_give_twice_the_result(name: str, taus: list[list[int]], power: int) -> None:
    factor = 2.0**power
    plain = named(name, {str(index): tau for index, tau in enumerate(taus)})
    scaled = named(name, {str(index): [factor * x for x in tau] for index, tau in enumerate(taus)})
    assert torch.equal(plain * factor, scaled)


@pytest.mark.parametrize("name", [name for name in ONE_BY_ONE if name not in {"median", "trimmed_mean"}])
@some_examples
@given(taus=st.lists(vectors, min_size=2, max_size=3))
def test_another_task_vector_of_zeros_adds_nothing(name: str, taus: list[list[int]]) -> None:
    plain = {str(index): tau for index, tau in enumerate(taus)}
    assert torch.equal(named(name, plain), named(name, {**plain, "zeros": [0] * SIZE}))
