from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from mergeward.errors import CheckpointError, UnsupportedError
from mergeward.merge.adaptive import adamerging
from mergeward.merge.adaptive.dam import DamParameters, run
from mergeward.merge.adaptive.mask_learning import MaskLearner
from mergeward.seeding import torch_generator

QUICK = {
    "steps": 3,
    "coefficient_steps": 2,
    "batch_size": 6,
    "mask_lr": 0.05,
    "base_lr": 0.02,
    "coefficient_lr": 0.02,
}


def parameters(**changes) -> DamParameters:
    return DamParameters(**{**QUICK, **changes})


class PlainDam:
    """The four steps of DAM written down with autograd and torch.optim, in float64."""

    def __init__(self, problem, plain, asked, layout, batches) -> None:
        self.plain, self.asked, self.layout, self.batches = plain, asked, layout, batches
        double = {"dtype": torch.float64, "requires_grad": True}
        columns = 1 if asked.granularity == "task" else len(problem.base)
        self.coefficients = torch.full((len(problem.names), columns), 0.3, **double)
        self.shared, self.detection = (torch.zeros(layout.size, **double) for _ in range(2))
        self.deltas = torch.zeros(len(problem.tasks), 3, 8, 8, **double)
        self.noise = torch_generator(problem.seed, "dam masks")
        self.optimizers = {
            leaf: torch.optim.Adam([leaf], lr=lr)
            for leaf, lr in (
                (self.coefficients, asked.base_lr),
                (self.shared, asked.mask_lr),
                (self.detection, asked.mask_lr),
                (self.deltas, asked.adv_lr),
            )
        }

    def step(self, number: int) -> None:
        first, second = self.logistic(), self.logistic()
        self.descend(self.coefficients, self.entropy(self.logits(self.batches[2 * number], first, second)))
        with torch.no_grad():
            self.coefficients.clamp_(0, 1)

        images = self.batches[2 * number + 1]
        classes = [task.argmax(-1) for task in self.logits(images, first, second)]
        loss = self.entropy(self.logits(images, first, second))
        if self.asked.shared_loss == "total":
            loss = loss + self.asked.alpha * self.safety(images, first, second, classes)
        self.descend(self.shared, loss)

        classes = [task.argmax(-1) for task in self.logits(images, first, second)]
        self.descend(self.deltas, -self.consistency(images, first, second, classes))
        with torch.no_grad():
            self.deltas.clamp_(-self.asked.adv_bound, self.asked.adv_bound)

        performance = self.entropy(self.logits(images, first, second))
        safety = self.safety(images, first, second, classes)
        self.descend(self.detection, performance + self.asked.alpha * safety)

    def safety(self, images, first, second, classes):
        if self.asked.safe_loss == "consistency":
            return self.consistency(images, first, second, classes)
        return self.entropy(self.logits(self.perturbed(images), first, second))

    def logistic(self):
        uniform = torch.zeros(self.layout.size, dtype=torch.float64).uniform_(generator=self.noise)
        return uniform.log() - (1 - uniform).log()

    def logits(self, images, first, second):
        masks = {}
        for name, one, two in zip(
            self.layout.names,
            self.layout.blocks((self.shared + first).div(self.asked.temperature).sigmoid()),
            self.layout.blocks((self.detection + second).div(self.asked.temperature).sigmoid()),
            strict=True,
        ):
            shape = self.plain.base[name].shape
            masks[name] = ((one / one.mean()) * (two / two.mean())).view(shape)
        wide = self.coefficients.expand(-1, len(self.layout.names))
        return self.plain.logits(images, self.batches.sizes, wide, masks)

    def perturbed(self, images):
        parts = images.split(list(self.batches.sizes))
        return torch.cat([part + delta for part, delta in zip(parts, self.deltas, strict=True)]).clamp(0, 1)

    def consistency(self, images, first, second, classes):
        logits = self.logits(self.perturbed(images), first, second)
        return sum(F.cross_entropy(task, labels) for task, labels in zip(logits, classes, strict=True))

    @staticmethod
    def entropy(logits):
        probabilities = [task.softmax(-1) for task in logits]
        return sum(-(p * p.log()).sum(-1).mean() for p in probabilities)

    def descend(self, leaf, loss) -> None:
        (leaf.grad,) = torch.autograd.grad(loss, [leaf])
        self.optimizers[leaf].step()


@pytest.mark.parametrize(
    "choice",
    [
        {"safe_loss": "consistency"},
        {"safe_loss": "entropy"},
        {"shared_loss": "total"},
        {"granularity": "task"},
    ],
    ids=str,
)
def test_the_four_steps_agree_with_autograd(choice, make_problem, reference):
    problem = make_problem()
    asked = parameters(alpha=0.7, **choice)
    learner = MaskLearner(problem, asked.plan, torch.float64)
    session = learner.session
    plain = PlainDam(problem, reference(problem), asked, session.engine.layout, session.batches)
    for step in range(3):
        learner.alternate(step)
        plain.step(step)

    close = {"rtol": 1e-6, "atol": 1e-8}
    wide = plain.coefficients.detach().expand(3, len(problem.base))
    torch.testing.assert_close(session.coefficients.by_tensor(), wide, **close)
    torch.testing.assert_close(
        learner.adversary.perturbations.values.detach(), plain.deltas.detach(), **close
    )
    torch.testing.assert_close(learner.masks["task_shared"].logits, plain.shared.detach(), **close)
    torch.testing.assert_close(learner.masks["backdoor_detection"].logits, plain.detection.detach(), **close)


def test_without_masks_to_learn_it_is_adamerging(make_problem):
    problem = make_problem()
    found = run(problem, parameters(steps=0, coefficient_steps=5))
    expected = adamerging.run(
        problem, adamerging.AdaMergingParameters(steps=5, lr=QUICK["base_lr"], batch_size=QUICK["batch_size"])
    )
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in expected.weights.items())
    assert found.record["loss"]["coefficients"] == expected.record["loss"]


def test_with_everything_frozen_it_is_task_arithmetic(make_problem):
    problem = make_problem()
    result = run(problem, parameters(mask_lr=0, base_lr=0, coefficient_lr=0))
    for name, base in problem.base.items():
        expected = base + 0.3 * sum(contribution[name] - base for contribution in problem.contributions)
        torch.testing.assert_close(result.weights[name], expected)


def test_alpha_zero_ignores_safety(make_problem):
    problem = make_problem()
    plain = run(problem, parameters(alpha=0))
    other = run(problem, parameters(alpha=0, safe_loss="entropy", adv_bound=0.5, adv_lr=0.1))
    heeded = run(problem, parameters(alpha=1))
    assert all(torch.equal(other.weights[name], tensor) for name, tensor in plain.weights.items())
    assert not all(torch.equal(heeded.weights[name], tensor) for name, tensor in plain.weights.items())


def test_the_final_mask_is_the_expectation_or_one_seeded_draw(make_problem):
    problem = make_problem()
    expected = run(problem, parameters())
    sampled, again = (run(problem, parameters(final_mask="sample")) for _ in range(2))
    assert sampled.record["masks"] == expected.record["masks"]
    assert all(torch.equal(again.weights[name], tensor) for name, tensor in sampled.weights.items())
    assert not all(torch.equal(expected.weights[name], tensor) for name, tensor in sampled.weights.items())


def test_the_perturbation_keeps_its_bound(make_problem):
    record = run(make_problem(), parameters(adv_lr=0.1, adv_bound=0.05)).record
    assert record["perturbation"] == pytest.approx({"shapes": 0.05, "signs": 0.05})


def test_the_record_follows_every_part(make_problem):
    record = run(make_problem(), parameters()).record
    lengths = {part: len(values) for part, values in record["loss"].items()}
    assert lengths == {"performance": 3, "safety": 3, "perturbation": 3, "coefficients": 2}
    assert list(record["balance"]) == ["start", "masks", "end"]
    for shares in record["masks"].values():
        assert all(0 < share < 1 for share in shares.values())
        assert any(share != 0.5 for share in shares.values())


def test_saved_masks_are_used_instead_of_learnt_ones(make_problem):
    learnt = run(make_problem(), parameters(coefficient_steps=0, base_lr=0))
    reused = run(make_problem(masks=learnt.masks), parameters(coefficient_steps=0, base_lr=0))
    assert list(learnt.masks) == ["task_shared", "backdoor_detection"]
    assert all(torch.equal(reused.weights[name], tensor) for name, tensor in learnt.weights.items())
    assert reused.record["masks"] == learnt.record["masks"]
    assert reused.record["loss"] == {"coefficients": []}


def test_masks_of_another_variant_are_refused(make_problem):
    learnt = run(make_problem(), parameters(variant="released"))
    with pytest.raises(CheckpointError, match="the saved ones are shared"):
        run(make_problem(masks=learnt.masks), parameters())


def test_the_released_variant_brings_its_defaults_and_takes_others():
    asked = DamParameters.model_validate({"variant": "released", "adv_lr": 0.5})
    assert (asked.base_lr, asked.coefficient_lr, asked.adv_lr, asked.adv_bound) == (1.0, 1e-3, 0.5, "none")
    assert (asked.safe_loss, asked.final_mask, asked.alpha, asked.steps) == ("entropy", "sample", 0.1, 1000)
    assert DamParameters().final_mask == "expectation"


def test_the_released_variant_needs_to_know_how_the_encoder_normalises(make_problem, toy):
    mean = toy.mean
    del toy.mean
    toy.mean = mean
    with pytest.raises(UnsupportedError, match="mean and std"):
        run(make_problem(toy), parameters(variant="released"))


@pytest.mark.parametrize(
    "wrong", [{"variant": "other"}, {"adv_bound": -1}, {"adv_bound": "some"}, {"temperature": 0}]
)
def test_parameters_refuse_what_they_do_not_know(wrong):
    with pytest.raises(ValidationError):
        DamParameters(**wrong)
