from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mergeward.errors import DataError, MergewardError
from mergeward.merge.adaptive.members import average, features_of, with_weights
from mergeward.merge.adaptive.surgery import Repair, SurgeryParameters, fit, operate

QUICK = SurgeryParameters(rank=3, steps=40, lr=0.02, batch_size=6)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_learning_agrees_with_linear_layers_and_adam(make_problem):
    task = make_problem().tasks[0]
    features, wanted = noise(24, 6, seed=1), noise(24, 6, seed=2)
    start, _ = fit(features, wanted, task, QUICK.model_copy(update={"steps": 0}), 7)
    found, losses = fit(features, wanted, task, QUICK.model_copy(update={"steps": 5, "batch_size": 24}), 7)

    down, up = nn.Linear(6, 3, bias=False).double(), nn.Linear(3, 6, bias=False).double()
    down.weight.data.copy_(start.down)
    nn.init.zeros_(up.weight)
    optimizer = torch.optim.Adam([*down.parameters(), *up.parameters()], lr=0.02)
    expected = []
    for _ in range(5):
        loss = nn.L1Loss()(features - up(torch.relu(down(features))), wanted)
        expected.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(found.down, down.weight.detach(), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(found.up, up.weight.detach(), rtol=1e-7, atol=1e-9)


def test_a_new_module_changes_nothing_and_starts_as_a_linear_layer_does(make_problem):
    task = make_problem().tasks[0]
    features = F.normalize(noise(24, 16), dim=-1)
    start, losses = fit(features, features, task, SurgeryParameters(steps=0), 0)
    assert losses == []
    assert start.down.shape == (16, 16)
    assert 0.2 < float(start.down.abs().max()) <= 0.25
    torch.testing.assert_close(start.apply(features), features)


def test_gradients_agree_with_differences():
    features = noise(5, 6)
    leaves = (noise(3, 6, seed=1).requires_grad_(), noise(6, 3, seed=2).requires_grad_())
    assert torch.autograd.gradcheck(lambda down, up: Repair(down, up).apply(features), leaves)


def test_the_scale_of_the_features_does_not_matter_to_their_direction():
    repair, features = Repair(noise(3, 6, seed=1), noise(6, 3, seed=2)), noise(5, 6)
    torch.testing.assert_close(repair.apply(7 * features), repair.apply(features))


def test_features_come_closer_to_those_of_the_tasks_contribution(make_problem):
    problem = make_problem(contributions=make_problem().contributions[:2], names=["first", "second"])
    merged = average(problem.contributions)
    repairs, record = operate(problem, merged, QUICK)
    assert list(repairs) == list(record) == ["shapes", "signs"]
    assert json.loads(json.dumps(record)) == record
    encoder = with_weights(problem.encoder, merged)
    for task, contribution in zip(problem.tasks, problem.contributions, strict=True):
        wanted = features_of(with_weights(problem.encoder, contribution), task.images, who="wanted")
        features = features_of(encoder, task.images, who="merged")
        own = record[task.name]
        assert own["before"] == pytest.approx(float(F.l1_loss(features, wanted)), rel=1e-5)
        after = F.l1_loss(repairs[task.name].corrected(features), wanted)
        assert own["after"] == pytest.approx(float(after), rel=1e-5)
        assert own["after"] < 0.8 * own["before"]
        assert len(own["loss"]) == QUICK.steps


def test_the_seed_alone_decides(make_problem):
    problems = [make_problem(seed=seed) for seed in (0, 0, 1)]
    first, second, other = (operate(problem, problem.base, QUICK)[0] for problem in problems)
    assert torch.equal(first["signs"].down, second["signs"].down)
    assert torch.equal(first["signs"].up, second["signs"].up)
    assert not torch.equal(first["signs"].up, other["signs"].up)


def test_several_contributions_to_a_task_are_followed_together(make_problem):
    problem = make_problem(claims=["signs", "signs", "signs"])
    repairs, record = operate(problem, problem.base, QUICK.model_copy(update={"steps": 0}))
    assert list(repairs) == ["signs"]
    task = problem.tasks[1]
    wanted = torch.stack(
        [
            features_of(with_weights(problem.encoder, one), task.images, who="one")
            for one in problem.contributions
        ]
    ).mean(0)
    features = features_of(with_weights(problem.encoder, problem.base), task.images, who="base")
    assert record["signs"]["before"] == pytest.approx(float(F.l1_loss(features, wanted)), rel=1e-5)


def test_what_it_cannot_learn_from_is_refused(make_problem, toy):
    with pytest.raises(DataError, match="surgery: needs to know the task of each contribution"):
        operate(make_problem(claims=()), make_problem().base, QUICK)
    toy.register_forward_hook(lambda module, images, features: features * float("nan"))
    with pytest.raises(MergewardError, match="surgery: merged model on shapes: features are not finite"):
        operate(make_problem(toy), make_problem().base, QUICK)
