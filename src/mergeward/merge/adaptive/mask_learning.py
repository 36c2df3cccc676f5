"""Learning masks and coefficients in turn: what Concrete merging and DAM share.

    theta = theta_0 + sum_t lambda[t, l] (tau_t * m_1 * ... * m_k)

Every mask is shared by all contributions. One alternation draws them all and then

1. lambda steps down L_perf = sum_t H(f(x_t)) (the inner step);
2. the logits of every mask but the last step down L_perf;
3. a perturbation of each task's images climbs CE(f(x + delta_t), argmax f(x)), weights fixed;
4. the logits of the last mask step down L_perf + alpha L_safe, with L_safe taken at the new delta.

Concrete merging has one mask and neither 2 nor 3. Within an alternation the masks keep their noise. Adam
throughout, with the defaults of PyTorch. At the end the masks are fixed and lambda is learnt further by plain
AdaMerging. `Switches` holds what else differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mergeward.compute import fixed_threads
from mergeward.errors import CheckpointError
from mergeward.merge.adaptive.adamerging import fit_coefficients
from mergeward.merge.adaptive.learning import GeneratorState
from mergeward.merge.adaptive.mask_parameters import CoefficientParameters, MaskParameters
from mergeward.merge.adaptive.masks import ConcreteMask
from mergeward.merge.adaptive.merged_encoder import Product
from mergeward.merge.adaptive.objectives import image_entropy, predictions
from mergeward.merge.adaptive.optimizer import Adam
from mergeward.merge.adaptive.perturbation import Perturbations, PixelSpace
from mergeward.merge.adaptive.problem import AdaptiveProblem, AdaptiveResult
from mergeward.merge.adaptive.safety import Adversary, Safety
from mergeward.merge.adaptive.session import Session
from mergeward.seeding import torch_generator


@dataclass(frozen=True)
class Switches:
    """What tells one variant of one method from another, numbers apart.

    Attributes:
        masks: Names of the masks; the last one is learnt on L_perf + alpha L_safe.
        restart: Whether lambda is put back to its start before every inner step, and before the AdaMerging
            steps, which then begin with a new Adam. Otherwise every step moves it for good.
        stale: With `restart`, whether the inner gradient is taken at the weights of the lambda that is then
            put back: gradient and value belong to different lambdas.
        carry: Whether the gradient that the last mask's step leaves in lambda is added to that of lambda's
            next step.
        clamp: Whether lambda stays in [0, 1].
        normalised: Whether perturbations are measured, and images clamped, in normalised pixels.
        clamp_climb: Whether perturbed images are clamped while the perturbation climbs, too.
        fresh_batches: Whether the perturbation and the last mask draw a batch each; otherwise they share
            that of step 2, and the pass over its clean images.
    """

    masks: tuple[str, ...]
    restart: bool = False
    stale: bool = False
    carry: bool = False
    clamp: bool = True
    normalised: bool = False
    clamp_climb: bool = True
    fresh_batches: bool = False


@dataclass(frozen=True)
class Plan:
    """What a method does with this machinery.

    Attributes:
        name: The method, in progress displays, errors and seeds.
        switches: What its variant does.
        parameters: The masks' numbers.
        coefficients: Those of the coefficients; None keeps these at their start.
        safety: Those of the perturbation; None does without.
        adversary: What makes use of the perturbation; called as `Adversary` is.
    """

    name: str
    switches: Switches
    parameters: MaskParameters
    coefficients: CoefficientParameters | None = None
    safety: Safety | None = None
    adversary: Callable[..., Adversary] = Adversary

    @property
    def batches(self) -> int:
        """How many batches one alternation uses."""
        return 1 + (self.coefficients is not None) + self.switches.fresh_batches


class MaskLearner:
    """What is learnt, and one alternation of the learning.

    Args:
        problem: Base, contributions, and the tasks' unlabelled images and heads.
        plan: How it is learnt.
        dtype: Type of the arithmetic outside autocast; float64 serves gradient checks.

    Attributes:
        session: The merged encoder, coefficients and batches.
        masks: The masks by name.
        adversary: The perturbations, and the loss under them; None without safety.

    Raises:
        CheckpointError: The problem has masks of other names.
        UnsupportedError: Normalised pixels are to be perturbed, and the encoder does not say how it
            normalises.
    """

    def __init__(self, problem: AdaptiveProblem, plan: Plan, dtype: torch.dtype = torch.float32) -> None:
        self._plan = plan
        coefficients = plan.coefficients
        self.session = Session(
            problem,
            plan.parameters,
            lr=0.0 if coefficients is None else coefficients.base_lr,
            granularity="task" if coefficients is None else coefficients.granularity,
            clamp=plan.switches.clamp,
            dtype=dtype,
        )
        layout = self.session.engine.layout
        self.masks = {
            name: ConcreteMask(
                layout,
                temperature=plan.parameters.temperature,
                lr=plan.parameters.mask_lr,
                dtype=dtype,
                device=problem.device,
            )
            for name in plan.switches.masks
        }
        self._reuse(problem.masks)
        self._noise = torch_generator(problem.seed, f"{plan.name} masks")
        self.adversary = None if plan.safety is None else self._meet(problem, plan.safety, dtype)
        self.session.learning.add(**self.masks, noise=GeneratorState(self._noise))
        if self.adversary is not None:
            self.session.learning.add(perturbations=self.adversary.perturbations)

    def alternate(self, step: int) -> dict[str, Tensor]:
        """Learn for one alternation; return the parts of its loss by name."""
        session, adversary = self.session, self.adversary
        first = step * self._plan.batches
        for mask in self.masks.values():
            mask.draw(self._noise)
        if self._plan.coefficients is not None:
            self._inner_step(session.batches[first])
            first += 1
        images = session.batches[first]
        session.merge(self.product())
        *others, last = self.masks.values()
        for mask in others:
            learnt = session.gradient(images, image_entropy)
            if adversary is not None and adversary.safety.all_masks:
                adversary.add_gradient(images, learnt.classes)
            self._step_mask(mask)
            session.engine.remask(self.product())
        if adversary is None:
            performance, _ = session.gradient(images, image_entropy)
            parts = {"performance": performance}
        else:
            parts = self._detect(adversary, images, first + 1)
        if self._plan.switches.carry:
            session.coefficients.carry(session.engine.coefficient_gradient())
        self._step_mask(last)
        return parts

    def _detect(self, adversary: Adversary, images: Tensor, next_batch: int) -> dict[str, Tensor]:
        """Let the perturbations climb, and fill the engine's gradient with that of L_perf + alpha L_safe."""
        session = self.session
        if self._plan.switches.fresh_batches:
            with torch.no_grad():
                classes = predictions(session.logits(images))
            attack = adversary.climb(images, classes)
            images = session.batches[next_batch]
            performance, classes = session.gradient(images, image_entropy)
        else:
            performance, classes = session.gradient(images, image_entropy)
            attack = adversary.climb(images, classes)
        safety = adversary.add_gradient(images, classes)
        return {"performance": performance, **safety, "perturbation": attack}

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the loss of an alternation."""
        return ("performance", *(() if self.adversary is None else self.adversary.PARTS))

    @property
    def optimizers(self) -> tuple[Adam, ...]:
        """What moves coefficients and masks."""
        masks = (mask.optimizer for mask in self.masks.values())
        return (self.session.coefficients.optimizer, *masks)

    def product(self) -> Product:
        """Return the product of the masks, made tensor by tensor."""
        return Product(*self.masks.values())

    def fix_masks(self, seed: int) -> Product:
        """Set the masks to what the merged model has, and return their product."""
        generator = torch_generator(seed, f"{self._plan.name} final mask")
        for mask in self.masks.values():
            if self._plan.parameters.final_mask == "sample":
                mask.draw(generator)
            else:
                mask.expect()
        return self.product()

    def _reuse(self, saved: Mapping[str, Mapping[str, Tensor]] | None) -> None:
        if saved is None:
            return
        if set(saved) != set(self.masks):
            raise CheckpointError(
                f"{self._plan.name} has the masks {_listed(self.masks)}; the saved ones are {_listed(saved)}"
            )
        for name, mask in self.masks.items():
            mask.set_tensors(saved[name])

    def _meet(self, problem: AdaptiveProblem, safety: Safety, dtype: torch.dtype) -> Adversary:
        switches = self._plan.switches
        perturbations = Perturbations(
            self.session.batches.sizes,
            problem.tasks[0].images.shape[-1],
            bound=safety.bound,
            lr=safety.lr,
            dtype=dtype,
            device=problem.device,
            space=PixelSpace.normalised(problem.encoder) if switches.normalised else None,
        )
        return self._plan.adversary(self.session, perturbations, safety, clamp_climb=switches.clamp_climb)

    def _inner_step(self, images: Tensor) -> None:
        session, switches = self.session, self._plan.switches
        if switches.stale:
            session.merge(self.product())
            session.coefficients.put_back()
        else:
            if switches.restart:
                session.coefficients.put_back()
            session.merge(self.product())
        session.gradient(images, image_entropy)
        session.step_along()

    def _step_mask(self, mask: ConcreteMask) -> None:
        """Let one mask's logits step down the engine's gradient while the others stay fixed."""
        engine = self.session.engine
        others = [other for other in self.masks.values() if other is not mask]

        def gradient(tensor: int) -> Tensor:
            whole = engine.mask_gradient_block(tensor)
            for other in others:
                whole.mul_(other.block(tensor))
            return whole

        mask.step(gradient)


def merge_with_masks(
    problem: AdaptiveProblem, plan: Plan, dtype: torch.dtype = torch.float32
) -> AdaptiveResult:
    """Learn masks and coefficients, and merge with them.

    Masks that the problem brings along are used as they are; only the AdaMerging steps are then taken.

    Args:
        problem: Base, contributions, and the tasks' unlabelled images and heads.
        plan: What is learnt, and how.
        dtype: Type of the arithmetic outside autocast; float64 serves comparisons.

    Returns:
        Merged weights, the masks' logits, and a record with `coefficients`, `loss` (by part, one number a
        step), `masks` (mean keep probability by mask and tensor), `balance` (`start`, `masks`, `end`; see
        `balance.class_balance`) and, where there is one, `perturbation` (largest |delta| by task).

    Raises:
        MergewardError: The loss is no longer finite, or the predictions collapsed and that is refused.
        CheckpointError: The problem has masks of other names.
        UnsupportedError: Normalised pixels are to be perturbed, and the encoder does not say how it
            normalises.
    """
    with fixed_threads():
        learner = MaskLearner(problem, plan, dtype)
        session = learner.session
        learning = session.learning
        balance = {"start": learning.remember("start", session.balance)}
        losses = {} if problem.masks is not None else _learn(learner, plan)
        mask = learner.fix_masks(problem.seed)
        stage = f"{plan.name}: coefficients"
        if plan.switches.restart and not learning.begun(stage):
            session.coefficients.restart()
        session.merge(mask)
        balance["masks"] = learning.remember("masks", session.balance)
        if (coefficients := plan.coefficients) is not None:
            session.coefficients.set_lr(coefficients.coefficient_lr)
            losses["coefficients"] = fit_coefficients(
                session,
                coefficients.coefficient_steps,
                label=stage,
                mask=mask,
                first_batch=plan.batches * plan.parameters.steps,
            )
        balance["end"] = session.balance()
        record = {"loss": losses, "balance": balance, **_describe(learner, problem)}
        tensors = {name: one.tensors() for name, one in learner.masks.items()}
        return session.result(record, tensors)


def _learn(learner: MaskLearner, plan: Plan) -> dict[str, list[float]]:
    learning = learner.session.learning
    for step in learning.steps(f"{plan.name}: masks", plan.parameters.steps, paced=learner.optimizers):
        parts = learner.alternate(step)
        weight = 0.0 if plan.safety is None else plan.safety.alpha
        learning.record(parts, parts["performance"] + weight * parts.get("safety", 0.0))
    return {name: learning.losses.get(name, []) for name in learner.parts}


def _describe(learner: MaskLearner, problem: AdaptiveProblem) -> dict[str, Any]:
    found: dict[str, Any] = {"masks": {name: mask.kept_shares() for name, mask in learner.masks.items()}}
    if learner.adversary is not None and problem.masks is None:
        largest = learner.adversary.perturbations.values.detach().abs().amax(dim=(1, 2, 3)).tolist()
        names = [task.name for task in problem.tasks]
        found["perturbation"] = dict(zip(names, largest, strict=True))
    return found


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names)) or "none"
