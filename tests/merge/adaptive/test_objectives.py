from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch

from mergeward.errors import MergewardError
from mergeward.merge.adaptive import UnlabelledTask
from mergeward.merge.adaptive.balance import balance_of, class_balance, collapses, refuse_broken
from mergeward.merge.adaptive.objectives import entropy, predictions, total_cross_entropy, total_entropy


def test_entropy_of_known_distributions():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [math.log(3), 0.0, -300.0, -300.0]], dtype=torch.float64)
    expected = [math.log(4), -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))]
    assert entropy(logits).tolist() == pytest.approx(expected, abs=1e-12)


def test_entropy_and_its_gradient_stay_finite_when_a_class_saturates():
    logits = torch.tensor([[4000.0, -4000.0, 0.0]], requires_grad=True)
    entropy(logits).sum().backward()
    assert torch.equal(logits.grad, torch.zeros(1, 3))


def test_totals_sum_over_tasks_of_means_over_images():
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(5, 3, generator=generator), torch.randn(2, 7, generator=generator)]
    probabilities = [task.softmax(-1) for task in logits]
    expected = sum(float(-(p * p.log()).sum() / len(p)) for p in probabilities)
    assert float(total_entropy(logits)) == pytest.approx(expected, rel=1e-6)
    classes = predictions(logits)
    surest = sum(float(-p.amax(-1).log().mean()) for p in probabilities)
    assert float(total_cross_entropy(logits, classes)) == pytest.approx(surest, rel=1e-6)


def test_balance_tells_collapse_from_even_use():
    even = torch.eye(4).repeat(5, 1) * 50
    spread = class_balance(even)
    assert (spread["images"], spread["classes"], spread["top_share"]) == (20, 4, 0.25)
    assert spread["entropy_of_mean"] == pytest.approx(math.log(4), abs=1e-5)
    assert spread["mean_entropy"] == pytest.approx(0, abs=1e-5)

    collapsed = torch.zeros(20, 4)
    collapsed[:, 2] = 50
    found = class_balance(collapsed)
    assert (found["top_class"], found["top_share"]) == (2, 1.0)
    assert found["entropy_of_mean"] == pytest.approx(0, abs=1e-5)


def _balances(*used: float) -> dict[str, dict[str, float | int]]:
    return {
        str(index): {"classes": 10, "classes_used": value, "top_share": 0.9}
        for index, value in enumerate(used)
    }


def test_classes_used_counts_the_classes_that_are_predicted():
    logits = torch.eye(4)[[0, 0, 1, 1, 2, 2]] * 50
    assert class_balance(logits)["classes_used"] == pytest.approx(3)


@pytest.mark.parametrize(
    ("before", "after", "collapsed"),
    [(8.0, 4.4, True), (8.0, 4.6, False), (2.0, 1.4, True), (2.0, 1.6, False), (1.0, 1.0, False)],
)
def test_a_collapse_is_a_loss_of_half_the_classes_beyond_the_first(before, after, collapsed):
    found = collapses(_balances(before, 5.0), _balances(after, 5.0))
    assert list(found) == (["0"] if collapsed else [])
    if collapsed:
        assert f"{before} of 10 classes in use at the start, {after} at the end" in found["0"]


def test_predictions_that_are_no_numbers_are_refused() -> None:
    task = UnlabelledTask("one", torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.eye(2))
    for value in (1.0, torch.nan):
        end = balance_of(lambda images, value=value: torch.full((len(images), 2), value), [task], seed=0)
        with pytest.raises(MergewardError, match="for one are no finite") if value != 1 else nullcontext():
            refuse_broken("a merge", end)
