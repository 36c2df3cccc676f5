"""What hostile or odd contributions may do to the methods that expect some."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeward.errors import RecipeError
from mergeward.merge.static.gram import gram_matrix
from mergeward.merge.static.order import sort
from mergeward.merge.static.robust import weiszfeld
from static_merges import merge_states

ROBUST = ["median", "trimmed_mean", "geometric_median", "multi_krum"]
every_robust = pytest.mark.parametrize("name", ROBUST)


def merge(name: str, taus: list[list[float]], base: float = 0.0, **parameters: object) -> torch.Tensor:
    origin = torch.full((len(taus[0]),), base)
    models = [{"w": origin + torch.tensor(tau)} for tau in taus]
    return merge_states(name, {"w": origin}, models, parameters)["w"]


@every_robust
def test_one_hostile_contribution_of_five_moves_little(name: str) -> None:
    honest = [[1.0, 2.0], [1.1, 2.0], [1.0, 2.1], [0.9, 1.9]]
    merged = merge(name, [*honest, [1e6, -1e6]])
    assert bool(((merged - torch.tensor([1.0, 2.0])).abs() < 0.2).all())


@every_robust
def test_equal_contributions_give_themselves(name: str) -> None:
    torch.testing.assert_close(merge(name, [[1.0, -3.0]] * 4, base=2.0), torch.tensor([3.0, -1.0]))


@every_robust
@given(st.lists(st.lists(st.integers(-8, 8), min_size=3, max_size=3), min_size=3, max_size=6), st.data())
@settings(max_examples=20)
def test_order_of_contributions_does_not_matter(
    name: str, taus: list[list[float]], data: st.DataObject
) -> None:
    base = {"w": torch.zeros(3)}
    named = [(str(index), torch.tensor(tau, dtype=torch.float32)) for index, tau in enumerate(taus)]
    results = []
    for order in (named, data.draw(st.permutations(named))):
        models = [{"w": tau} for _, tau in order]
        results.append(merge_states(name, base, models, names=[each for each, _ in order])["w"])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)


@every_robust
def test_lambda_is_a_factor(name: str) -> None:
    taus = [[1.0, 2.0], [3.0, 5.0], [2.0, 2.0]]
    torch.testing.assert_close(merge(name, taus, **{"lambda": 0.5}), 0.5 * merge(name, taus))


def test_the_median_of_an_even_number_is_the_mean_of_the_middle() -> None:
    assert merge("median", [[1.0], [2.0], [4.0], [100.0]]).tolist() == [3.0]


def test_the_trimmed_mean_rounds_its_share_up_and_keeps_one() -> None:
    taus = [[1.0], [2.0], [3.0], [6.0], [100.0]]
    assert merge("trimmed_mean", taus, trim=0.2).tolist() == pytest.approx([11 / 3])
    assert merge("trimmed_mean", taus, trim=0.25).tolist() == [3.0]
    assert merge("trimmed_mean", taus[:2], trim=0.49).tolist() == [1.5]
    assert merge("trimmed_mean", taus, trim=0).tolist() == pytest.approx([22.4])


@given(st.lists(st.lists(st.integers(-9, 9), min_size=2, max_size=2), min_size=1, max_size=7))
def test_tensors_are_sorted_coordinate_by_coordinate(values: list[list[int]]) -> None:
    stacked = torch.tensor(values)
    assert torch.equal(torch.stack(sort(list(stacked))), stacked.sort(0).values)


def test_the_geometric_median_of_a_line_is_its_middle() -> None:
    points = torch.tensor([[0.0], [1.0], [10.0]], dtype=torch.float64)
    shares = weiszfeld(gram_matrix(points))
    assert shares.sum() == pytest.approx(1)
    assert float(np.asarray(points)[:, 0] @ shares) == pytest.approx(1.0, abs=1e-3)


def test_multi_krum_averages_the_closest() -> None:
    taus = [[0.0], [1.0], [2.0], [50.0], [90.0]]
    assert merge("multi_krum", taus, byzantine=1, selected=1).tolist() == [1.0]
    assert merge("multi_krum", taus, byzantine=2).tolist() == [1.0]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"byzantine": 1}, "byzantine: 1 of 3 models is too many"),
        ({"selected": 4}, "selected: 4, there are 3"),
    ],
)
def test_multi_krum_refuses_numbers_beyond_its_contributions(
    parameters: dict[str, int], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        merge("multi_krum", [[1.0], [2.0], [3.0]], **parameters)
