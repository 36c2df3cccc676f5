"""The released variants against the released procedure, written down plainly in float64 with autograd."""

from __future__ import annotations

import pytest
import torch

from mergeward.merge.adaptive.concrete import (
    ConcreteAdaMergingParameters,
    ConcreteTaskArithmeticParameters,
)
from mergeward.merge.adaptive.dam import DamParameters
from mergeward.merge.adaptive.mask_learning import MaskLearner, merge_with_masks
from mergeward.merge.adaptive.session import Session
from mergeward.seeding import torch_generator

QUICK = {"steps": 4, "coefficient_steps": 3, "batch_size": 6, "mask_lr": 0.05, "coefficient_lr": 0.02}
DAM_QUICK = {**QUICK, "adv_lr": 0.3, "alpha": 0.7}
"""A step size at which the perturbed images leave the interval that they are clamped to."""


class Released:
    """One mask, and the order of things as the public code has it.

    Args:
        name: Seeds the draws.
        safety: Weight of the entropy on perturbed images; None is Concrete AdaMerging, whose code clears the
            coefficients' gradient before each backward pass instead of after each step.
        repaired: Whether the coefficients are put back before the inner merge, and kept in [0, 1].
    """

    def __init__(self, problem, plain, asked, session, *, name, safety=None, repaired=False) -> None:
        granularity = getattr(asked, "granularity", "task")
        self.problem, self.plain, self.asked, self.session = problem, plain, asked, session
        self.name, self.safety, self.repaired = name, safety, repaired
        double = {"dtype": torch.float64, "requires_grad": True}
        columns = len(problem.base) if granularity == "layer" else 1
        self.weights = torch.full((len(problem.names), columns), 0.3, **double)
        self.mask_logits = {n: torch.zeros(t.shape, **double) for n, t in problem.base.items()}
        self.delta = torch.zeros(len(problem.tasks), 3, 8, 8, **double)
        self.mean, self.std = problem.encoder.mean.double(), problem.encoder.std.double()
        self.noise = torch_generator(problem.seed, f"{name} masks")
        self.batch = 0

    def next_images(self):
        self.batch += 1
        return self.session.batches[self.batch - 1]

    def draw(self, generator):
        uniform = torch.zeros(self.session.engine.layout.size, dtype=torch.float64)
        uniform.uniform_(generator=generator)
        noise = self.session.engine.layout.views(uniform.log() - (1 - uniform).log())
        drawn = {n: ((a + noise[n]) / 0.5).sigmoid() for n, a in self.mask_logits.items()}
        return {n: m / m.mean() for n, m in drawn.items()}

    def logits(self, weights, mask, images):
        wide = weights.expand(-1, len(self.problem.base))
        return self.plain.logits(images, self.session.batches.sizes, wide, mask)

    def entropy(self, logits):
        probabilities = [task.softmax(-1) for task in logits]
        return sum(-(p * p.log()).sum(-1).mean() for p in probabilities)

    def perturbed(self, images, *, clamp):
        """Add delta to the normalised images, as the released code's loaders hand them over."""
        normalised = (images - self.mean) / self.std
        parts = normalised.split(list(self.session.batches.sizes))
        moved = torch.cat([part + one for part, one in zip(parts, self.delta, strict=True)])
        return (moved.clamp(0, 1) if clamp else moved) * self.std + self.mean

    def learn_masks(self):
        base = torch.optim.Adam([self.weights], lr=self.asked.base_lr)
        masks = torch.optim.Adam(list(self.mask_logits.values()), lr=self.asked.mask_lr)
        noise = torch.optim.Adam([self.delta], lr=getattr(self.asked, "adv_lr", 0.0))
        for _ in range(self.asked.steps):
            mask = self.draw(self.noise)
            detached = {n: m.detach() for n, m in mask.items()}
            if self.repaired:
                self.weights.data.fill_(0.3)
            stale = self.weights.detach().clone().requires_grad_()
            self.weights.data.fill_(0.3)
            loss = self.entropy(self.logits(stale, detached, self.next_images()))
            (gradient,) = torch.autograd.grad(loss, [stale])
            if self.safety is None or self.weights.grad is None:
                self.weights.grad = gradient
            else:
                self.weights.grad += gradient
            base.step()
            base.zero_grad()
            if self.repaired:
                self.weights.data.clamp_(0, 1)

            if self.safety is not None:
                images = self.next_images()
                fixed = self.weights.detach()
                with torch.no_grad():
                    labels = [task.argmax(1) for task in self.logits(fixed, detached, images)]
                moved = self.logits(fixed, detached, self.perturbed(images, clamp=False))
                loss = sum(
                    -torch.nn.functional.cross_entropy(task, label)
                    for task, label in zip(moved, labels, strict=True)
                )
                noise.zero_grad()
                loss.backward()
                noise.step()

            images = self.next_images()
            loss = self.entropy(self.logits(self.weights, mask, images))
            if self.safety is not None:
                with torch.no_grad():
                    images = self.perturbed(images, clamp=True)
                loss = loss + self.safety * self.entropy(self.logits(self.weights, mask, images))
            masks.zero_grad()
            loss.backward()
            masks.step()

    def run(self):
        self.learn_masks()
        with torch.no_grad():
            mask = self.draw(torch_generator(self.problem.seed, f"{self.name} final mask"))
        self.weights.data.fill_(0.3)
        base = torch.optim.Adam([self.weights], lr=self.asked.coefficient_lr)
        for _ in range(self.asked.coefficient_steps):
            loss = self.entropy(self.logits(self.weights, mask, self.next_images()))
            if self.safety is None:
                base.zero_grad()
            loss.backward()
            base.step()
            base.zero_grad()
            if self.repaired:
                self.weights.data.clamp_(0, 1)
        wide = self.weights.detach().expand(-1, len(self.problem.base))
        return {
            name: tensor
            + mask[name]
            * sum(w[i] * taus[name] for w, taus in zip(wide, self.plain.task_vectors, strict=True))
            for i, (name, tensor) in enumerate(self.plain.base.items())
        }


def session_of(problem, asked):
    return Session(problem, asked, lr=0.0, dtype=torch.float64)


def assert_same(found, expected):
    for name, tensor in expected.items():
        torch.testing.assert_close(found.weights[name], tensor.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("granularity", ["layer", "task"])
def test_released_dam_is_the_released_code(granularity, make_problem, reference):
    problem = make_problem()
    asked = DamParameters(variant="released", granularity=granularity, **DAM_QUICK)
    plain = Released(
        problem, reference(problem), asked, session_of(problem, asked), name="dam", safety=asked.alpha
    )
    expected = plain.run()
    assert_same(merge_with_masks(problem, asked.plan, torch.float64), expected)


def test_the_state_of_released_dam_after_each_step(make_problem, reference):
    problem = make_problem()
    asked = DamParameters(variant="released", **DAM_QUICK)
    learner = MaskLearner(problem, asked.plan, torch.float64)
    for step in range(asked.steps):
        learner.alternate(step)
    plain = Released(problem, reference(problem), asked, learner.session, name="dam", safety=asked.alpha)
    plain.learn_masks()
    close = {"rtol": 1e-6, "atol": 1e-8}
    torch.testing.assert_close(learner.session.coefficients.by_tensor(), plain.weights.detach(), **close)
    torch.testing.assert_close(learner.adversary.perturbations.values.detach(), plain.delta.detach(), **close)
    views = learner.session.engine.layout.views(learner.masks["shared"].logits)
    for name, logits in plain.mask_logits.items():
        torch.testing.assert_close(views[name], logits.detach(), **close)
    assert float(plain.weights.detach().max()) > 1
    assert float(plain.delta.detach().abs().max()) > 0.5


@pytest.mark.parametrize("granularity", ["layer", "task"])
@pytest.mark.parametrize("variant", ["released", "paper"])
def test_concrete_adamerging_is_the_public_code_or_its_repair(variant, granularity, make_problem, reference):
    problem = make_problem()
    asked = ConcreteAdaMergingParameters.model_validate(
        {"variant": variant, "granularity": granularity, "final_mask": "sample", **QUICK}
    )
    plain = Released(
        problem,
        reference(problem),
        asked,
        session_of(problem, asked),
        name="concrete_adamerging",
        repaired=variant == "paper",
    )
    expected = plain.run()
    assert_same(merge_with_masks(problem, asked.plan, torch.float64), expected)


def test_concrete_task_arithmetic_learns_the_mask_alone(make_problem, reference):
    problem = make_problem()
    asked = ConcreteTaskArithmeticParameters(steps=4, mask_lr=0.05, batch_size=6)
    session = session_of(problem, asked)
    plain = Released(problem, reference(problem), asked, session, name="concrete_task_arithmetic")
    masks = torch.optim.Adam(list(plain.mask_logits.values()), lr=0.05)
    for _ in range(4):
        loss = plain.entropy(plain.logits(plain.weights, plain.draw(plain.noise), plain.next_images()))
        masks.zero_grad()
        loss.backward()
        masks.step()
    found = merge_with_masks(problem, asked.plan, torch.float64)
    assert set(found.record["loss"]) == {"performance"}
    for name, logits in plain.mask_logits.items():
        torch.testing.assert_close(found.masks["shared"][name], logits.detach().float())
        probabilities = found.masks["shared"][name].sigmoid()
        task_vectors = sum(contribution[name] - problem.base[name] for contribution in problem.contributions)
        torch.testing.assert_close(
            found.weights[name],
            problem.base[name] + 0.3 * task_vectors * probabilities / probabilities.mean(),
            rtol=1e-4,
            atol=1e-5,
        )
