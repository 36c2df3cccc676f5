"""The methods that make task vectors sparse: what their papers promise, and the sizes where tools break."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeward.errors import RecipeError
from mergeward.merge.static.draws import bernoulli
from mergeward.merge.static.rows import by_magnitude
from mergeward.seeding import numpy_generator
from static_merges import merge_states

DROPPING = ["dare_linear", "dare_ties", "della", "della_linear"]
BANDING = ["breadcrumbs", "breadcrumbs_ties"]
SEMANTICS = ["reference", "mergekit"]
every_semantics = pytest.mark.parametrize("semantics", SEMANTICS)
every_sparse = pytest.mark.parametrize("name", [*DROPPING, *BANDING])


def merge(name: str, *taus: torch.Tensor, seed: int = 0, **parameters: object) -> torch.Tensor:
    base = {"w": torch.zeros_like(taus[0])}
    return merge_states(name, base, [{"w": tau} for tau in taus], {"weight": 1.0, **parameters}, seed=seed)[
        "w"
    ]


@given(probability=st.floats(0, 1), seed=st.integers(0, 1000))
@settings(max_examples=30)
def test_masks_have_their_probability(probability: float, seed: int) -> None:
    mask = bernoulli(numpy_generator(seed, "test"), (100, 400), probability)
    spread = (probability * (1 - probability) / mask.size) ** 0.5
    assert abs(mask.mean() - probability) <= 6 * spread
    assert mask.dtype == np.bool_


def test_masks_resolve_probabilities_below_a_byte() -> None:
    mask = bernoulli(numpy_generator(0, "test"), (4_000_000,), 1 / 4096)
    assert mask.mean() == pytest.approx(1 / 4096, rel=0.15)


def test_each_place_may_have_a_probability_of_its_own() -> None:
    mask = bernoulli(numpy_generator(0, "test"), (5000, 3), np.array([0.0, 0.3, 1.0]))
    assert mask.mean(0).tolist() == [0.0, pytest.approx(0.3, abs=0.03), 1.0]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_order_of_magnitude_is_stable(values: list[int]) -> None:
    rows = torch.tensor([values, values[::-1]], dtype=torch.float32)
    expected = rows.abs().sort(dim=1, descending=True, stable=True).indices
    assert by_magnitude(rows).tolist() == expected.tolist()


@every_sparse
@every_semantics
@given(size=st.integers(1, 128), count=st.integers(1, 3))
@settings(max_examples=15)
def test_tensors_of_any_size_are_merged(name: str, semantics: str, size: int, count: int) -> None:
    taus = [torch.arange(1.0, size + 1) * (index + 1) for index in range(count)]
    merged = merge(name, *taus, semantics=semantics, density=0.5, **{"lambda": 1.0})
    assert merged.shape == (size,)
    assert bool(torch.isfinite(merged).all())


@every_sparse
@every_semantics
def test_a_density_of_one_keeps_all(name: str, semantics: str) -> None:
    gamma = {"gamma": 0.0} if name in BANDING else {}
    tau = torch.tensor([[3.0, -1.0, 0.5], [1.0, 2.0, -2.0]])
    assert torch.equal(merge(name, tau, semantics=semantics, density=1.0, **gamma), tau)


@every_sparse
@every_semantics
def test_a_density_of_zero_drops_all(name: str, semantics: str) -> None:
    tau = torch.tensor([[3.0, -1.0, 0.5], [1.0, 2.0, -2.0]])
    assert torch.equal(merge(name, tau, semantics=semantics, density=0.0), torch.zeros(2, 3))


@pytest.mark.parametrize("name", ["dare_linear", "della_linear"])
def test_the_expectation_is_the_task_vector(name: str) -> None:
    tau = torch.linspace(-2, 3, 64).repeat(4000, 1)
    merged = merge(name, tau, density=0.2)
    assert torch.count_nonzero(merged) / merged.numel() == pytest.approx(0.2, abs=0.002)
    spread = tau[0].abs() * (0.85 / 0.15 / 4000) ** 0.5
    assert bool(((merged.mean(0) - tau[0]).abs() <= 5 * spread).all())


@pytest.mark.parametrize("name", DROPPING)
def test_mergekit_restores_the_l1_norm(name: str) -> None:
    tau = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))
    options = {"semantics": "mergekit", "density": 0.4, "normalize": False}
    assert merge(name, tau, **options).abs().sum() == pytest.approx(float(tau.abs().sum()), rel=1e-5)
    without = merge(name, tau, rescale=False, **options)
    assert bool(((without == tau) | (without == 0)).all())


def test_della_keeps_large_values_more_often() -> None:
    tau = torch.arange(1.0, 11.0).repeat(20000, 1)
    share = merge("della_linear", tau, density=0.5, epsilon=0.4).ne(0).double().mean(0)
    torch.testing.assert_close(share, torch.linspace(0.1, 0.9, 10).double(), atol=0.02, rtol=0)


def test_della_refuses_margins_beyond_a_probability() -> None:
    with pytest.raises(RecipeError, match=r"epsilon: density 0\.9 needs an epsilon below 0\.1, found 0\.15"):
        merge("della", torch.ones(4), density=0.9, semantics="mergekit")


@pytest.mark.parametrize("name", DROPPING)
def test_masks_depend_on_names_and_seed_and_not_on_order(name: str) -> None:
    taus = [torch.randn(500, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    base = {"a": torch.zeros(500), "b": torch.zeros(500)}
    models = [{"a": tau, "b": tau} for tau in taus]
    options = {"weight": 1.0, "density": 0.5}
    merged = merge_states(name, base, models, options, names=["x", "y"])
    swapped = merge_states(name, base, models[::-1], options, names=["y", "x"])
    assert torch.equal(merged["a"], swapped["a"])
    assert not torch.equal(merged["a"], merged["b"])
    assert not torch.equal(merged["a"], merge_states(name, base, models, options, names=["x", "z"])["a"])
    assert not torch.equal(
        merged["a"], merge_states(name, base, models, options, names=["x", "y"], seed=1)["a"]
    )


def test_breadcrumbs_are_picked_in_each_row() -> None:
    tau = torch.tensor([[9.0, 1.0, -5.0, 3.0], [10.0, 40.0, -20.0, 30.0]])
    merged = merge("breadcrumbs", tau, density=0.5, gamma=0.25)
    assert merged.tolist() == [[0.0, 0.0, -5.0, 3.0], [0.0, 0.0, -20.0, 30.0]]


def test_breadcrumbs_of_mergekit_are_picked_in_the_tensor() -> None:
    tau = torch.tensor([[9.0, 1.0, -5.0, 3.0], [10.0, 40.0, -20.0, 30.0]])
    merged = merge("breadcrumbs", tau, density=0.5, gamma=0.25, semantics="mergekit")
    assert merged.tolist() == [[9.0, 0.0, -5.0, 0.0], [10.0, 0.0, -20.0, 0.0]]


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_a_gamma_too_small_to_leave_out_a_value_leaves_out_none(semantics: str) -> None:
    tau = torch.tensor([1.0, -4.0, 2.0, 3.0])
    merged = merge("breadcrumbs", tau, density=0.5, gamma=0.01, semantics=semantics)
    assert merged.tolist() == [0.0, -4.0, 0.0, 3.0]


def test_breadcrumbs_rescale_only_when_asked() -> None:
    tau = torch.tensor([1.0, -4.0, 2.0, 3.0])
    merged = merge("breadcrumbs", tau, density=0.5, gamma=0.0, rescale=True)
    assert merged.tolist() == pytest.approx([0.0, -4 * 10 / 7, 0.0, 3 * 10 / 7])


@pytest.mark.parametrize("name", ["dare_ties", "breadcrumbs_ties", "della"])
def test_only_what_agrees_in_sign_is_added(name: str) -> None:
    options = {"density": 1.0, "normalize": False, **({"gamma": 0.0} if name in BANDING else {})}
    merged = merge(
        name, torch.tensor([5.0, 1.0]), torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -1.0]), **options
    )
    assert merged.tolist() == [5.0, -2.0]


@pytest.mark.parametrize("name", ["dare_ties", "della"])
def test_a_mean_refuses_negative_weights(name: str) -> None:
    with pytest.raises(RecipeError, match=r"normalize.*-1"):
        merge(name, torch.ones(2), weight=-1.0, normalize=True)
