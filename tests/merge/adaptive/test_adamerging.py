from __future__ import annotations

import pytest
import torch

from mergeward.merge.adaptive.adamerging import AdaMergingParameters, fit_coefficients, run
from mergeward.merge.adaptive.session import Session


def parameters(**changes) -> AdaMergingParameters:
    return AdaMergingParameters(**{"steps": 4, "lr": 0.02, "batch_size": 6, **changes})


@pytest.mark.parametrize("granularity", ["layer", "task"])
def test_learning_agrees_with_autograd_and_adam(granularity, make_problem, reference):
    problem = make_problem()
    asked = parameters(granularity=granularity)
    session = Session(problem, asked, lr=asked.lr, granularity=granularity, dtype=torch.float64)
    losses = fit_coefficients(session, 4, label="adamerging")

    plain = reference(problem)
    columns = 1 if granularity == "task" else len(problem.base)
    values = torch.full((3, columns), 0.3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([values], lr=asked.lr)
    expected = []
    for step in range(4):
        spread = values.expand(3, len(problem.base))
        logits = plain.logits(session.batches[step], session.batches.sizes, spread, plain.ones())
        probabilities = [task.softmax(-1) for task in logits]
        loss = sum(-(p * p.log()).sum(-1).mean() for p in probabilities)
        expected.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            values.clamp_(0, 1)
    assert losses == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(
        session.coefficients.by_tensor(), values.detach().expand(3, len(problem.base)), rtol=1e-7, atol=1e-9
    )


def test_entropy_falls(make_problem):
    record = run(make_problem(), parameters(steps=30)).record
    start, end = record["balance"]["start"], record["balance"]["end"]
    for task in ("shapes", "signs"):
        assert end[task]["mean_entropy"] < start[task]["mean_entropy"]
    assert sum(record["loss"][-5:]) < sum(record["loss"][:5])


def test_no_steps_are_task_arithmetic(make_problem):
    problem = make_problem()
    result = run(problem, parameters(steps=0, initial_coefficient=0.4))
    assert result.record["loss"] == []
    for name, base in problem.base.items():
        expected = base + 0.4 * sum(contribution[name] - base for contribution in problem.contributions)
        torch.testing.assert_close(result.weights[name], expected)


def test_coefficients_stay_in_the_unit_interval_and_can_come_back(make_problem):
    result = run(make_problem(), parameters(steps=25, lr=0.2))
    values = [value for row in result.record["coefficients"].values() for value in row.values()]
    assert min(values) == 0
    assert max(values) <= 1


def test_weights_are_those_of_the_reported_coefficients(make_problem):
    problem = make_problem()
    result = run(problem, parameters())
    assert list(result.record["coefficients"]) == list(problem.names)
    for name, base in problem.base.items():
        expected = base + sum(
            result.record["coefficients"][who][name] * (contribution[name] - base)
            for who, contribution in zip(problem.names, problem.contributions, strict=True)
        )
        torch.testing.assert_close(result.weights[name], expected)


def test_task_wise_coefficients_are_shared_by_the_tensors(make_problem):
    record = run(make_problem(), parameters(granularity="task")).record
    rows = [set(row.values()) for row in record["coefficients"].values()]
    assert [len(row) for row in rows] == [1, 1, 1]
    assert len(set.union(*rows)) == 3
