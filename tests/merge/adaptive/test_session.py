from __future__ import annotations

import pytest
import torch

from mergeward.merge.adaptive.adamerging import AdaMergingParameters
from mergeward.merge.adaptive.dam import DamParameters
from mergeward.merge.adaptive.mask_learning import MaskLearner
from mergeward.merge.adaptive.objectives import image_cross_entropy, image_entropy, total_entropy
from mergeward.merge.adaptive.passes import automatic_size, passes
from mergeward.merge.adaptive.session import Session

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def session_of(problem, **changes) -> Session:
    asked = AdaMergingParameters(**{"batch_size": 6, **changes})
    return Session(problem, asked, lr=0.01, dtype=torch.float64)


@pytest.mark.parametrize("largest", [1, 4, 5, 6, 100])
def test_passes_cover_every_image_once_in_order(largest):
    sizes = [6, 1, 5]
    found = passes(sizes, largest)
    assert [row for one in found for row in range(12)[one.rows]] == list(range(12))
    images = [
        (part.task, row) for one in found for part in one.parts for row in range(sizes[part.task])[part.rows]
    ]
    assert images == [(task, row) for task, size in enumerate(sizes) for row in range(size)]
    for one in found:
        assert sum(part.count for part in one.parts) == one.rows.stop - one.rows.start <= largest
    assert len(found) == -(-12 // largest)


def test_the_automatic_size_is_by_pixels():
    assert automatic_size(224) == 32
    assert automatic_size(32) == 1568
    assert automatic_size(10_000) == 1


@pytest.mark.parametrize("micro_batch", [1, 4, 7])
def test_small_passes_give_the_gradient_of_one(micro_batch, make_problem):
    whole, small = session_of(make_problem()), session_of(make_problem(), micro_batch=micro_batch)
    images = whole.batches[0]
    expected = total_entropy(whole.logits(images))
    whole.engine.backward(expected)
    loss, classes = small.gradient(images, image_entropy)
    torch.testing.assert_close(loss, expected.detach(), **EXACT)
    torch.testing.assert_close(small.engine.gradient, whole.engine.gradient, **EXACT)
    assert [len(found) for found in classes] == list(small.batches.sizes)

    small.add_gradient(images, image_entropy, scale=0.5)
    torch.testing.assert_close(small.engine.gradient, 1.5 * whole.engine.gradient, **EXACT)


def test_small_passes_give_the_image_gradient_of_one(make_problem):
    problem = make_problem()
    whole, small = session_of(problem), session_of(problem, micro_batch=4)
    images = whole.batches[0]
    _, classes = whole.gradient(images, image_entropy)
    before = small.engine.gradient.clone()
    found = [session.image_gradient(images, image_cross_entropy(classes)) for session in (whole, small)]
    torch.testing.assert_close(found[0][0], found[1][0], **EXACT)
    torch.testing.assert_close(found[0][1].loss, found[1][1].loss, **EXACT)
    assert bool(found[0][0].flatten(1).any(1).all())
    assert torch.equal(small.engine.gradient, before)


def test_dam_learns_the_same_in_small_passes(make_problem):
    learnt = []
    for micro_batch in (None, 4):
        asked = DamParameters(batch_size=6, mask_lr=0.05, base_lr=0.02, micro_batch=micro_batch)
        learner = MaskLearner(make_problem(), asked.plan, torch.float64)
        for step in range(3):
            learner.alternate(step)
        learnt.append([learner.session.coefficients.by_tensor(), learner.adversary.perturbations.values])
        learnt[-1] += [mask.logits for mask in learner.masks.values()]
    for whole, small in zip(*learnt, strict=True):
        torch.testing.assert_close(whole.detach(), small.detach(), rtol=1e-7, atol=1e-9)
