from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mergeward.merge.adaptive.fisher import FisherParameters, diagonal_fisher, expectation, fisher_mean, run
from mergeward.merge.adaptive.members import with_weights


@pytest.fixture
def model(make_problem):
    problem = make_problem()
    return with_weights(problem.encoder, problem.contributions[0], torch.float64), problem.tasks[1]


def estimated(model, generator=None, **asked):
    module, task = model
    parameters = FisherParameters(**asked)
    return diagonal_fisher(
        module, task.images, task.head, parameters, generator or torch.Generator(), "first"
    )


def log_probabilities(model):
    """log p(y|x) `[N, C]` in float64, with a graph to every parameter, and the parameters by name."""
    module, task = model
    parameters = {name: p.requires_grad_() for name, p in module.named_parameters()}
    logits = module(task.images.double() / 255) @ task.head.double().T
    return F.log_softmax(logits, dim=-1), parameters


def gradients(value, parameters):
    found = torch.autograd.grad(value, list(parameters.values()), retain_graph=True)
    return dict(zip(parameters, found, strict=True))


def test_exact_is_the_expectation_over_labels_of_each_images_squared_gradient(model):
    found = estimated(model)
    log_p, parameters = log_probabilities(model)
    expected = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for row in log_p:
        for value in row:
            for name, gradient in gradients(value, parameters).items():
                expected[name] += value.exp().detach() * gradient**2 / len(log_p)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5 * float(value.max()))


def test_monte_carlo_takes_labels_from_the_predictions(model):
    found = estimated(model, torch.Generator().manual_seed(5), estimate="monte_carlo")
    log_p, parameters = log_probabilities(model)
    labels = torch.multinomial(log_p.detach().exp(), 1, generator=torch.Generator().manual_seed(5))[:, 0]
    expected = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for row, label in zip(log_p, labels, strict=True):
        for name, gradient in gradients(row[label], parameters).items():
            expected[name] += gradient**2 / len(log_p)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("batch_size", [3, 4, 32])
def test_mergelm_squares_sums_over_batches(model, batch_size):
    found = estimated(model, estimate="mergelm", batch_size=batch_size)
    log_p, parameters = log_probabilities(model)
    expected = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for batch in log_p.split(batch_size):
        value = (batch.detach().exp().sqrt() * batch).sum()
        for name, gradient in gradients(value, parameters).items():
            expected[name] += gradient**2 / len(log_p)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-12)


def test_the_expectation_takes_few_pulls_where_predictions_are_sure():
    logits = torch.tensor([[0.0, 0.5, -1.0, 0.2], [30.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    image, pulls = expectation(logits)
    assert image.tolist() == [0, 0, 0]
    p = logits[0].softmax(-1)
    torch.testing.assert_close(pulls.T @ pulls, torch.diag(p) - torch.outer(p, p), rtol=1e-9, atol=1e-12)


def values(*rows):
    return [{"w": torch.tensor(row)} for row in rows]


def test_the_mean_follows_the_fisher_values():
    models = values([1.0, 2.0, 8.0], [3.0, 6.0, 4.0])
    merged, shares = fisher_mean(
        models, values([3.0, 1.0, 0.0], [1.0, 1.0, 0.0]), normalize=False, floor=1e-6
    )
    torch.testing.assert_close(merged["w"], torch.tensor([1.5, 4.0, 6.0]))
    assert shares[0]["w"] == pytest.approx((0.75 + 0.5 + 0.5) / 3)
    assert shares[0]["w"] + shares[1]["w"] == pytest.approx(1)


def test_normalised_the_scale_of_a_models_fisher_does_not_matter():
    models, fishers = values([1.0, 2.0], [3.0, 6.0]), values([3.0, 1.0], [1.0, 2.0])
    scaled = [fishers[0], {"w": 1000 * fishers[1]["w"]}]
    for normalize in (True, False):
        first, second = (
            fisher_mean(models, f, normalize=normalize, floor=1e-9)[0] for f in (fishers, scaled)
        )
        assert torch.allclose(first["w"], second["w"], rtol=1e-5) == normalize


def test_the_merge_lies_between_its_models(make_problem):
    problem = make_problem()
    result = run(problem, FisherParameters(images=4))
    for name, merged in result.weights.items():
        stacked = torch.stack([one[name] for one in problem.contributions])
        assert bool((merged >= stacked.amin(0) - 1e-6).all() and (merged <= stacked.amax(0) + 1e-6).all())
        assert sum(share[name] for share in result.record["coefficients"].values()) == pytest.approx(1)
