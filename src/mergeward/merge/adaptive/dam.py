"""DAM, Defense-Aware Merging: two masks that keep what tasks share and cut what a perturbation sets off.

The paper's own pages leave details open. Each is named here, with the choice taken:

- L_safe: `consistency` (cross-entropy on perturbed images against the prediction for the clean ones), the
  very quantity that the perturbation climbs; `entropy` on perturbed images is what the released code
  minimises.
- The perturbation: one delta a task, L-infinity bounded by 8/255 in [0, 1] pixel space. The released code
  bounds nothing, in CLIP-normalised units.
- The inner step moves lambda for good; the released code puts it back to its start at every step.
- The Task-Shared mask sees L_perf only, the Backdoor-Detection mask L_perf + alpha L_safe.
- At the end the masks are fixed, at their expectation by default, and lambda is learnt further by plain
  AdaMerging from where the masks' stage left it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from mergeward.compute import fixed_threads
from mergeward.merge.adaptive.adamerging import fit_coefficients
from mergeward.merge.adaptive.learning import GeneratorState
from mergeward.merge.adaptive.masks import ConcreteMask
from mergeward.merge.adaptive.merged_encoder import Product
from mergeward.merge.adaptive.objectives import image_cross_entropy, image_entropy
from mergeward.merge.adaptive.optimizer import Adam
from mergeward.merge.adaptive.perturbation import Perturbations
from mergeward.merge.adaptive.problem import AdaptiveProblem, AdaptiveResult
from mergeward.merge.adaptive.session import Session, SessionParameters
from mergeward.merge.method import MethodInfo
from mergeward.seeding import torch_generator

PARTS = ("performance", "safety", "perturbation")
"""Parts of the loss of a step that learns masks."""


class DamParameters(SessionParameters):
    """Parameters of DAM; "released" names the defaults of the authors' code."""

    variant: Literal["paper"] = Field(default="paper", description="`paper`: the algorithm as published")
    steps: int = Field(default=1000, ge=0, description="alternations that learn the masks (released: 1000)")
    coefficient_steps: int = Field(
        default=1000, ge=0, description="AdaMerging steps afterwards, masks fixed (released: 1000)"
    )
    alpha: float = Field(
        default=0.1, ge=0, description="weight of L_safe in L_total = L_perf + alpha L_safe (released: 0.1)"
    )
    safe_loss: Literal["consistency", "entropy"] = Field(
        default="consistency",
        description="L_safe on perturbed images: `consistency` with the clean prediction, or `entropy` "
        "(released)",
    )
    base_lr: float = Field(
        default=1e-3, ge=0, description="Adam step size of the coefficients (AdaMerging: 1e-3)"
    )
    mask_lr: float = Field(
        default=1e-3, ge=0, description="Adam step size of both masks' logits (released: 1e-3)"
    )
    adv_lr: float = Field(
        default=1e-3,
        ge=0,
        description="Adam step size of the perturbations, in [0, 1] pixel units; reaches the bound in some "
        "30 steps (released: 1e-4 in CLIP-normalised units, without a bound)",
    )
    adv_bound: float = Field(
        default=8 / 255,
        ge=0,
        le=1,
        description="L-infinity bound of the perturbations in [0, 1] pixel units (8/255, as is usual in "
        "adversarial training)",
    )
    temperature: float = Field(default=0.5, gt=0, description="temperature of the masks (released: 0.5)")
    final_mask: Literal["expectation", "sample"] = Field(
        default="expectation",
        description="masks of the merged model: keep probabilities, or one seeded draw (released: a draw)",
    )


def run(problem: AdaptiveProblem, parameters: DamParameters) -> AdaptiveResult:
    """Merge by DAM (arXiv:2410.13910), layer-wise by default.

    theta = theta_0 + sum_t lambda[t, l] (tau_t * m1 * m2), with m1 the Task-Shared and m2 the
    Backdoor-Detection mask, each shared by all contributions. Every step draws both masks and alternates:

    1. lambda steps down L_perf = sum_t H(f(x_t));
    2. the logits of m1 step down L_perf at the new lambda, on the next batch;
    3. delta_t climbs CE(f(x + delta_t), argmax f(x)), weights fixed;
    4. the logits of m2 step down L_perf + alpha L_safe at the new delta.

    Within a step the masks keep their noise; 2 to 4 share a batch, 3 and 4 the pass over its clean images.
    Adam throughout, with the defaults of PyTorch.

    Args:
        problem: Base, contributions, and the tasks' unlabelled images and heads.
        parameters: See `DamParameters`.

    Returns:
        Merged weights and a record with `coefficients`, `loss` (by part: `performance`, `safety`,
        `perturbation` for each step on the masks, `coefficients` for each AdaMerging step), `masks` (mean
        keep probability by mask and tensor), `perturbation` (largest |delta| by task) and `balance` (`start`,
        `masks`, `end`; see `balance.class_balance`).

    Raises:
        MergewardError: The loss is no longer finite.
    """
    with fixed_threads():
        state = _State.of(problem, parameters)
        session = state.session
        learning = session.learning
        balance = {"start": learning.remember("start", session.balance)}
        for step in learning.steps("dam: masks", parameters.steps, paced=state.optimizers):
            parts = _alternate(state, parameters, step)
            learning.record(parts, parts["performance"] + parameters.alpha * parts["safety"])
        losses = {name: learning.losses.get(name, []) for name in PARTS}
        mask = _final_mask(state, problem, parameters)
        session.merge(mask)
        balance["masks"] = learning.remember("masks", session.balance)
        losses["coefficients"] = fit_coefficients(
            session,
            parameters.coefficient_steps,
            label="dam: coefficients",
            mask=mask,
            first_batch=2 * parameters.steps,
        )
        balance["end"] = session.balance()
        return session.result({"loss": losses, "balance": balance, **_describe(state, problem)})


@dataclass(frozen=True)
class _State:
    """What DAM learns."""

    session: Session
    shared: ConcreteMask
    detection: ConcreteMask
    perturbations: Perturbations
    noise: torch.Generator

    @classmethod
    def of(
        cls, problem: AdaptiveProblem, parameters: DamParameters, dtype: torch.dtype = torch.float32
    ) -> _State:
        session = Session(problem, parameters, lr=parameters.base_lr, dtype=dtype)
        layout = session.engine.layout
        shared, detection = (
            ConcreteMask(
                layout,
                temperature=parameters.temperature,
                lr=parameters.mask_lr,
                dtype=dtype,
                device=problem.device,
            )
            for _ in range(2)
        )
        perturbations = Perturbations(
            session.batches.sizes,
            problem.tasks[0].images.shape[-1],
            bound=parameters.adv_bound,
            lr=parameters.adv_lr,
            dtype=dtype,
            device=problem.device,
        )
        noise = torch_generator(problem.seed, "dam masks")
        session.learning.add(
            shared=shared, detection=detection, perturbations=perturbations, noise=GeneratorState(noise)
        )
        return cls(session, shared, detection, perturbations, noise)

    @property
    def optimizers(self) -> tuple[Adam, ...]:
        """What moves coefficients and masks."""
        return (self.session.coefficients.optimizer, self.shared.optimizer, self.detection.optimizer)

    def mask(self) -> Product:
        """Return m1 * m2 at their present values."""
        return Product(self.shared, self.detection)

    def step_mask(self, mask: ConcreteMask, other: ConcreteMask) -> None:
        """Let one mask's logits step down the engine's gradient while the other mask stays fixed."""
        engine = self.session.engine
        mask.step(lambda tensor: engine.mask_gradient_block(tensor).mul_(other.block(tensor)))


def _alternate(state: _State, parameters: DamParameters, step: int) -> dict[str, Tensor]:
    session = state.session
    state.shared.draw(state.noise)
    state.detection.draw(state.noise)
    session.merge(state.mask())
    session.gradient(session.batches[2 * step], image_entropy)
    session.step_along()

    images = session.batches[2 * step + 1]
    session.merge(state.mask())
    session.gradient(images, image_entropy)
    state.step_mask(state.shared, state.detection)

    session.engine.remask(state.mask())
    performance, classes = session.gradient(images, image_entropy)
    consistency = image_cross_entropy(classes)
    slope, attack = session.image_gradient(state.perturbations.apply(images), consistency)
    state.perturbations.climb((state.perturbations.apply(images) * slope).sum())

    safe_loss = image_entropy if parameters.safe_loss == "entropy" else consistency
    perturbed = state.perturbations.apply(images).detach()
    safety = session.add_gradient(perturbed, safe_loss, scale=parameters.alpha)
    state.step_mask(state.detection, state.shared)
    return {"performance": performance, "safety": safety.loss, "perturbation": attack.loss}


def _final_mask(state: _State, problem: AdaptiveProblem, parameters: DamParameters) -> Product:
    generator = torch_generator(problem.seed, "dam final mask")
    for mask in (state.shared, state.detection):
        if parameters.final_mask == "sample":
            mask.draw(generator)
        else:
            mask.expect()
    return state.mask()


def _describe(state: _State, problem: AdaptiveProblem) -> dict[str, Any]:
    largest = state.perturbations.values.detach().abs().amax(dim=(1, 2, 3)).tolist()
    names = [task.name for task in problem.tasks]
    return {
        "masks": {
            "task_shared": state.shared.kept_shares(),
            "backdoor_detection": state.detection.kept_shares(),
        },
        "perturbation": dict(zip(names, largest, strict=True)),
    }


INFO = MethodInfo(
    name="dam",
    summary="learns coefficients under two masks, one of which cuts weights that a perturbation sets off",
    paper='Yang et al., "Mitigating the Backdoor Effect for Multi-Task Model Merging via Safety-Aware '
    'Subspace", ICLR 2025, arXiv:2410.13910',
    kind="adaptive",
    run=run,
    parameters=DamParameters,
    needs_images=True,
    any_device=True,
)
