"""Fortify against the same written down plainly, and what it does to a model that a trigger moves."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from mergeward.merge.adaptive.fortify import FortifiedMergeParameters, Fortifying, run
from mergeward.merge.adaptive.session import SessionParameters
from mergeward.merge.adaptive.trigger_pool import CLEAN

ASKED = {"steps": 2, "batch_size": 8, "triggers": 2, "smallest": 0.3, "largest": 0.5}


def fortifying(problem, reference=1.0, **changes):
    parameters = FortifiedMergeParameters(**{**ASKED, **changes})
    return Fortifying.of(problem, parameters, parameters.session(0.3), reference, torch.float64)


def weights_of(fort):
    """The weights by name, as leaves of a graph."""
    views = fort.session.engine.layout.views(fort.session.engine.theta)
    return {name: value.detach().clone().requires_grad_() for name, value in views.items()}


def encoded(problem, weights, images):
    return functional_call(problem.encoder.double().eval(), weights, (images,))


@pytest.mark.parametrize("coefficient", [0.3, 1.0])
def test_images_are_to_look_as_their_tasks_own_contribution_makes_them(make_problem, coefficient):
    problem = make_problem()
    fort = fortifying(problem, coefficient)
    for task, found in zip(problem.tasks, fort.references, strict=True):
        own = [
            model
            for model, claim in zip(problem.contributions, problem.claims, strict=True)
            if claim == task.name
        ]
        alone = {
            name: tensor.double()
            + coefficient / len(own) * sum(model[name].double() - tensor.double() for model in own)
            for name, tensor in problem.base.items()
        }
        torch.testing.assert_close(found, encoded(problem, alone, task.images.double() / 255).detach())


def test_where_nobody_claims_the_task_as_the_merge_makes_them(make_problem):
    problem = make_problem(claims=[])
    fort = fortifying(problem)
    merged = weights_of(fort)
    for task, found in zip(problem.tasks, fort.references, strict=True):
        torch.testing.assert_close(found, encoded(problem, merged, task.images.double() / 255).detach())


def test_triggers_step_down_the_cross_entropy_of_their_classes(make_problem):
    problem = make_problem()
    fort = fortifying(problem)
    images, targets = fort.session.batches[0], torch.cat(fort.pool.targets)
    leaf = fort.pool.apply(images).requires_grad_()
    features = encoded(problem, weights_of(fort), leaf).split([len(own) for own in fort.pool.targets])
    loss = sum(
        F.cross_entropy(own @ head.T, target, ignore_index=CLEAN, reduction="sum")
        for own, head, target in zip(features, fort.heads, fort.pool.targets, strict=True)
    )
    (slope,) = torch.autograd.grad(loss, [leaf])
    pasted = fort.pool.apply(images)
    expected = fortifying(problem)
    expected.pool.climb(slope, targets == CLEAN)
    fort.climb(0)
    torch.testing.assert_close(fort.pool.apply(images), expected.pool.apply(images))
    assert not torch.equal(fort.pool.apply(images), pasted)


@pytest.mark.parametrize("clean_weight", [0.0, 3.0])
def test_weights_step_down_the_drift_of_features(make_problem, clean_weight):
    problem = make_problem()
    fort = fortifying(problem, clean_weight=clean_weight)
    weights = weights_of(fort)
    clean = fort.session.batches[0]
    members = fort.session.batches.members(0)
    there = torch.cat([own[rows] for own, rows in zip(fort.references, members, strict=True)])
    drift = 1 - F.cosine_similarity(encoded(problem, weights, fort.pool.apply(clean)), there)
    parts = list(zip(drift.split([len(own) for own in fort.pool.targets]), fort.pool.targets, strict=True))
    triggered = sum(own[target != CLEAN].mean() for own, target in parts)
    kept = sum(own[target == CLEAN].mean() for own, target in parts)
    expected = torch.autograd.grad(triggered + clean_weight * kept, list(weights.values()))
    found = fort.descend(0)
    gradient = fort.session.engine.layout.views(fort.session.engine.gradient)
    for name, value in zip(weights, expected, strict=True):
        torch.testing.assert_close(gradient[name], value, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found["triggered"].double(), triggered.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["clean"].double(), kept.detach(), rtol=1e-5, atol=1e-6)


def test_triggers_move_the_features_less_and_clean_images_keep_theirs(make_problem):
    """One pool of triggers that stays, so that the losses can be compared."""
    asked = {**ASKED, "steps": 60, "lr": 1e-2, "clean_weight": 2, "tries": 1000, "trigger_step": 1e-9}
    loss = run(make_problem(claims=[]), FortifiedMergeParameters(**asked)).record["loss"]
    start, end = (sum(part) / 8 for part in (loss["triggered"][:8], loss["triggered"][-8:]))
    assert end < 0.5 * start
    assert loss["clean"][-1] < 0.5 * end


@pytest.mark.parametrize("unused", ["patience", "gain", "task_vectors", "step_sizes"])
def test_what_means_nothing_to_it_is_refused(unused):
    with pytest.raises(ValueError, match=unused):
        FortifiedMergeParameters(**{unused: SessionParameters().model_dump()[unused]})


def test_a_smallest_patch_above_the_largest_is_refused():
    with pytest.raises(ValueError, match="is above largest"):
        FortifiedMergeParameters(smallest=0.5)


def test_without_steps_it_is_task_arithmetic(make_problem):
    problem = make_problem()
    found = run(problem, FortifiedMergeParameters(**{**ASKED, "steps": 0, "initial_coefficient": 0.5}))
    for name, value in found.weights.items():
        vectors = sum(model[name] - problem.base[name] for model in problem.contributions)
        torch.testing.assert_close(value, problem.base[name] + 0.5 * vectors)
