"""The methods that look at whole matrices, and the singular values that they share."""

from __future__ import annotations

import doctest
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mergeward.errors import UnsupportedError
from mergeward.merge.static import matrices
from mergeward.merge.static.matrices import polar_factor, singular_triplets
from static_merges import merge_states

SPECTRAL = ("tsv_m", "iso_c", "iso_cts")
every_one = pytest.mark.parametrize("name", [*SPECTRAL, "wudi", "knots"])
some_examples = settings(max_examples=15)
shapes = st.tuples(st.integers(4, 9), st.integers(4, 9))
seeds = st.integers(0, 10_000)


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def merge(name: str, taus: Sequence[Tensor], **parameters: Any) -> Tensor:
    base = {"w": torch.zeros_like(taus[0])}
    return merge_states(name, base, [{"w": tau} for tau in taus], parameters)["w"]


@some_examples
@given(shape=shapes, seed=seeds, count=st.integers(1, 9))
def test_triplets_are_those_of_a_singular_value_decomposition(
    shape: tuple[int, int], seed: int, count: int
) -> None:
    matrix = noise(seed, *shape)
    left, values, right = singular_triplets(matrix, count)
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    torch.testing.assert_close(values, s[:count], rtol=1e-7, atol=1e-9)
    expected = u[:, :count] @ torch.diag(s[:count]) @ v[:count]
    torch.testing.assert_close(left * values @ right, expected, rtol=1e-5, atol=1e-6)


@some_examples
@given(shape=shapes, seed=seeds)
def test_the_polar_factor_has_orthonormal_rows_or_columns(shape: tuple[int, int], seed: int) -> None:
    factor = polar_factor(noise(seed, *shape))
    gram = factor.T @ factor if shape[0] >= shape[1] else factor @ factor.T
    torch.testing.assert_close(gram, torch.eye(min(shape), dtype=torch.float64), rtol=0, atol=1e-5)


def test_directions_of_zero_stay_zero() -> None:
    flat = torch.outer(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0, 0.0]))
    torch.testing.assert_close(
        polar_factor(flat), torch.tensor([[0, 0.6, 0], [0, 0.8, 0]], dtype=torch.float64)
    )
    assert not polar_factor(torch.zeros(2, 3)).any()


@every_one
@some_examples
@given(shape=shapes, seed=seeds, data=st.data())
def test_contributions_may_come_in_any_order(
    name: str, shape: tuple[int, int], seed: int, data: st.DataObject
) -> None:
    taus = [noise(seed + index, *shape) for index in range(3)]
    shuffled = data.draw(st.permutations(taus))
    torch.testing.assert_close(merge(name, taus), merge(name, shuffled), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*SPECTRAL, "knots"])
@some_examples
@given(shape=shapes, seed=seeds, power=st.integers(-6, 6))
def test_scaled_task_vectors_give_a_scaled_result(
    name: str, shape: tuple[int, int], seed: int, power: int
) -> None:
    taus = [noise(seed + index, *shape) for index in range(2)]
    scaled = merge(name, [2.0**power * tau for tau in taus])
    torch.testing.assert_close(scaled, 2.0**power * merge(name, taus), rtol=1e-5, atol=1e-6 * 2.0**power)


@pytest.mark.parametrize(("name", "parameters"), [("tsv_m", {}), ("wudi", {}), ("knots", {"density": 1.0})])
def test_one_contribution_is_itself(name: str, parameters: dict[str, Any]) -> None:
    tau = noise(0, 7, 5)
    torch.testing.assert_close(merge(name, [tau], **parameters), tau, rtol=1e-4, atol=1e-5)


def test_iso_c_gives_all_directions_the_mean_singular_value() -> None:
    tau = noise(1, 6, 4)
    values = torch.linalg.svdvals(merge("iso_c", [tau]))
    torch.testing.assert_close(values, torch.linalg.svdvals(tau).mean().expand(4), rtol=1e-5, atol=1e-6)


def test_iso_cts_without_directions_of_its_own_is_iso_c() -> None:
    taus = [noise(index, 6, 8) for index in range(3)]
    torch.testing.assert_close(
        merge("iso_cts", taus, common_fraction=1.0), merge("iso_c", taus), rtol=1e-5, atol=1e-6
    )


def test_tsv_m_refuses_a_matrix_too_small_for_its_contributions() -> None:
    with pytest.raises(UnsupportedError, match=r"tsv_m: tensor 'w' of shape \[2, 9\].*each of 3.*exclude"):
        merge("tsv_m", [noise(index, 2, 9) for index in range(3)])


@every_one
def test_excluded_matrices_are_treated_as_other_tensors(name: str) -> None:
    taus = [noise(index, 6, 6) for index in range(2)]
    merged = merge(name, taus, exclude="other, w", **({"weight": 0.5} if name == "knots" else {}))
    expected = torch.zeros(6, 6) if name == "wudi" else sum(taus) / 2
    torch.testing.assert_close(merged, expected)


def test_wudi_may_average_what_it_does_not_optimise() -> None:
    taus = [noise(index, 5) for index in range(2)]
    torch.testing.assert_close(merge("wudi", taus, others="average"), sum(taus) / 2)


def test_wudi_lowers_the_interference() -> None:
    taus = [noise(index, 8, 6) for index in range(3)]

    def interference(merged: Tensor) -> float:
        return sum(float(((merged - tau) @ tau.T).square().sum() / tau.square().sum()) for tau in taus)

    start, end = (interference(merge("wudi", taus, steps=steps, lr=1e-2)) for steps in (0, 100))
    assert end < 0.7 * start


def test_knots_with_all_coordinates_and_one_sign_is_the_weighted_mean() -> None:
    # Task vectors of one direction have the same coordinates but for their size.
    tau = noise(3, 5, 4)
    merged = merge("knots", [tau, 3 * tau], density=1.0, weight=1.0)
    torch.testing.assert_close(merged, 2 * tau, rtol=1e-4, atol=1e-5)


def test_knots_refuses_negative_weights() -> None:
    with pytest.raises(Exception, match="no weight may be below zero"):
        merge("knots", [noise(0, 4, 4)], weight=-1.0)


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(matrices).failed == 0
