"""ANP, adversarial neuron pruning, adapted to layer normalisation and to images without labels.

Wu and Wang (2021) take the scale and shift of a batch normalisation's channel for a neuron, let an adversary
change them within a bound so that predictions break, learn masks on the scales that keep predictions right
even so, and prune the channels whose mask has become small. What is done here deviates from that:

- A vision transformer has no batch normalisation. The masks lie on the gains of its layer normalisations, as
  in BackdoorBench's transformers. That is another thing than a channel of a convolution: a gain of 0 hides
  one dimension of the residual stream from the block that reads it, for every token of every image.
- The classes that predictions are held to are those of the merged model before any pruning, since there are
  no labels. What the merged model gets wrong stays wrong.
- A fixed threshold prunes. Published figures often choose it by the attack's success on test images, which a
  defender does not have.
- The bound was made for the channels of ResNets; whether it suits here is for an experiment to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from mergeward.compute import fixed_threads
from mergeward.defense.problem import DefenseInfo, Hardened, HardenProblem
from mergeward.defense.session import LearningParameters, as_merge, open_session
from mergeward.errors import UnsupportedError
from mergeward.merge.adaptive.layout import Layout
from mergeward.merge.adaptive.learning import GeneratorState
from mergeward.merge.adaptive.objectives import image_cross_entropy, predictions
from mergeward.merge.adaptive.session import Session
from mergeward.seeding import torch_generator


class AnpParameters(LearningParameters):
    """Parameters of ANP; the defaults are those of the paper where not said otherwise."""

    lr: float = Field(default=0.2, ge=0, description="SGD step size of the masks (ANP: 0.2)")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of the masks (ANP: 0.9)")
    epsilon: float = Field(
        default=0.4,
        ge=0,
        description="L-infinity bound of the change of gains and biases, relative (ANP: 0.4)",
    )
    inner_steps: int = Field(default=1, ge=1, description="sign steps of the adversary (ANP: 1)")
    alpha: float = Field(
        default=0.2, ge=0, le=1, description="weight of the loss without the adversary (ANP: 0.2)"
    )
    threshold: float = Field(
        default=0.2, ge=0, le=1, description="gains whose mask ends below it are set to 0 (ANP: 0.2)"
    )


@dataclass(frozen=True)
class Neurons:
    """The layer normalisations of an encoder, laid out like its weights.

    Attributes:
        widths: Number of gains of each, by name.
        gains: int64 `[N]`, the places of all gains in the flat weights.
        biases: int64 `[N]`, the places of their biases.
    """

    widths: Mapping[str, int]
    gains: Tensor
    biases: Tensor

    @classmethod
    def of(cls, encoder: nn.Module, layout: Layout, device: torch.device) -> Neurons:
        """Find them in a layout of the encoder's parameters, for weights on a device."""
        widths = _normalisations(encoder)
        spans = dict(zip(layout.names, layout.spans, strict=True))
        gains, biases = (
            torch.cat([torch.arange(*spans[f"{name}.{part}"], device=device) for name in widths])
            for part in ("weight", "bias")
        )
        return cls(widths, gains, biases)


class NeuronMasks:
    """One mask a gain, moved by SGD with momentum as PyTorch has it.

    Args:
        values: `[N]` in [0, 1], what the masks start at; written in place.
        lr: Step size.
        momentum: Share of the last step's direction in the next one's.

    Attributes:
        values: The masks.
    """

    def __init__(self, values: Tensor, *, lr: float, momentum: float) -> None:
        self.values = values
        self._lr = lr
        self._momentum = momentum
        self._direction = torch.zeros_like(values)

    def step(self, gradient: Tensor) -> None:
        """Take a step down a gradient `[N]`, and come back to [0, 1]."""
        self._direction.mul_(self._momentum).add_(gradient)
        self.values.sub_(self._direction, alpha=self._lr).clamp_(0, 1)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the masks and the direction of the last step."""
        return {"values": self.values, "direction": self._direction}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` returned."""
        self.values.copy_(state["values"])
        self._direction.copy_(state["direction"])


@dataclass(frozen=True)
class PruningState:
    """What is learnt.

    Attributes:
        session: The merged model, every weight times a factor.
        neurons: Where its gains are.
        masks: One a gain.
        factors: `[P]`, what every weight is multiplied by; 1 but at gains and biases.
        noise: Where the adversary starts; on the processor, for the same draws on every device.
    """

    session: Session
    neurons: Neurons
    masks: NeuronMasks
    factors: Tensor
    noise: torch.Generator

    @classmethod
    def of(
        cls, problem: HardenProblem, parameters: AnpParameters, dtype: torch.dtype = torch.float32
    ) -> PruningState:
        """Set everything to its start: all masks 1."""
        # Over a base of zeros the engine's mask multiplies the weights themselves.
        zeros = {name: torch.zeros_like(value) for name, value in problem.merged().items()}
        session = open_session(as_merge(problem, base=zeros), parameters, dtype)
        neurons = Neurons.of(problem.encoder, session.engine.layout, problem.device)
        factors = torch.ones(session.engine.layout.size, dtype=dtype, device=problem.device)
        start = factors.new_ones(len(neurons.gains))
        masks = NeuronMasks(start, lr=parameters.lr, momentum=parameters.momentum)
        noise = torch_generator(problem.seed, "anp adversary")
        session.learning.add(masks=masks, noise=GeneratorState(noise))
        return cls(session, neurons, masks, factors, noise)

    def step(self, number: int, parameters: AnpParameters) -> dict[str, Tensor]:
        """Take one step on batch `number`; return the losses by part."""
        images, masks, alpha = self.session.batches[number], self.masks.values, parameters.alpha
        classes = self._classes(images)
        gains, biases = self._adversary(images, classes, parameters)
        robust, robust_gradient = self._gradient(images, classes, masks + gains, 1 + biases)
        natural, natural_gradient = self._gradient(images, classes, masks, torch.ones_like(biases))
        self.masks.step(alpha * natural_gradient[0] + (1 - alpha) * robust_gradient[0])
        return {"natural": natural, "robust": robust}

    def finish(self, threshold: float) -> tuple[dict[str, Tensor], dict[str, dict[str, int]]]:
        """Set the gains with small masks to 0.

        Args:
            threshold: Masks below it are small.

        Returns:
            The hardened weights, and for each layer normalisation how many gains were set to 0 of how many.
        """
        kept = (self.masks.values >= threshold).to(self.factors)
        self._write(kept, torch.ones_like(kept))
        counts = torch.split(kept, list(self.neurons.widths.values()))
        pruned = {
            name: {"pruned": int((part == 0).sum()), "of": len(part)}
            for name, part in zip(self.neurons.widths, counts, strict=True)
        }
        return self.session.engine.weights(), pruned

    @torch.no_grad()
    def _classes(self, images: Tensor) -> list[Tensor]:
        self.session.engine.remask(None)
        return predictions(self.session.logits(images))

    def _adversary(
        self, images: Tensor, classes: list[Tensor], parameters: AnpParameters
    ) -> tuple[Tensor, Tensor]:
        """Return the relative changes `[N]` of gains and biases that raise the loss, within the bound."""
        bound, masks = parameters.epsilon, self.masks.values
        start = torch.empty(2, len(masks), dtype=masks.dtype).uniform_(-bound, bound, generator=self.noise)
        changes = start.to(masks.device)
        for _ in range(parameters.inner_steps):
            _, gradient = self._gradient(images, classes, masks + changes[0], 1 + changes[1])
            changes.add_(torch.stack(gradient).sign_(), alpha=bound / parameters.inner_steps)
            changes.clamp_(-bound, bound)
        return changes[0], changes[1]

    def _gradient(
        self, images: Tensor, classes: list[Tensor], gains: Tensor, biases: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the loss with factors `[N]` on gains and biases, and its gradient in them."""
        self._write(gains, biases)
        loss, _ = self.session.gradient(images, image_cross_entropy(classes))
        gradient = self.session.engine.mask_gradient()
        return loss, (gradient[self.neurons.gains], gradient[self.neurons.biases])

    def _write(self, gains: Tensor, biases: Tensor) -> None:
        self.factors[self.neurons.gains] = gains
        self.factors[self.neurons.biases] = biases
        self.session.engine.remask(self.factors)


def run(problem: HardenProblem, parameters: AnpParameters) -> Hardened:
    """Learn masks on the gains of layer normalisation, and set those with small masks to 0.

    With g, b gains and biases, m masks and f(g, b) the merged model, every step: an adversary starts at
    random and takes sign steps up sum_t CE(f((m + d) g, (1 + e) b), y) with |d|, |e| <= epsilon, where y is
    what the merged model predicts; then m steps down alpha CE(f(m g, b), y) + (1 - alpha) CE(f((m + d) g, (1
    + e) b), y) by SGD, and is projected onto [0, 1].

    Args:
        problem: The merged encoder and unlabelled images.
        parameters: See `AnpParameters`.

    Returns:
        The hardened weights; all but the pruned gains are the merged model's, bit by bit. The record holds
        `loss` (`natural` and `robust`, one number a step) and `pruned` (for each layer normalisation how many
        gains of how many).

    Raises:
        UnsupportedError: The encoder has no layer normalisation with gains and biases.
        MergewardError: A loss is no longer finite.
    """
    _normalisations(problem.encoder)
    with fixed_threads():
        state = PruningState.of(problem, parameters)
        learning = state.session.learning
        for step in learning.steps("anp", parameters.steps):
            learning.record(state.step(step, parameters))
        weights, pruned = state.finish(parameters.threshold)
    losses = {name: learning.losses.get(name, []) for name in ("natural", "robust")}
    return Hardened(weights, {"loss": losses, "pruned": pruned})


def _normalisations(encoder: nn.Module) -> dict[str, int]:
    """Return the names of the layer normalisations with gains and biases, and their numbers of gains."""
    found = {
        name: module.weight.numel()
        for name, module in encoder.named_modules()
        if isinstance(module, nn.LayerNorm) and {"weight", "bias"} <= dict(module.named_parameters()).keys()
    }
    if not found:
        raise UnsupportedError(
            f"anp: needs layer normalisation with gains and biases; {type(encoder).__name__} has none"
        )
    return found


INFO = DefenseInfo(
    name="anp",
    summary="sets to 0 the gains of layer normalisation through which an adversary could break predictions",
    paper="Wu, Wang, Adversarial Neuron Pruning Purifies Backdoored Deep Models, NeurIPS 2021, "
    "arXiv 2110.14430; adapted to layer normalisation and to images without labels",
    run=run,
    parameters=AnpParameters,
    any_device=True,
)
