"""TrojViT: a trigger on the most salient patches, inserted into few weights of a clean fine-tune.

Re-derived for contributions that are encoders. The released code writes the backdoor into one row of the
classifier; a contributed CLIP encoder carries no classifier, so such a backdoor would be left behind. Here it
goes into those entries of the last block and the projection where the triggered loss has the largest
gradient; all other weights are those of a clean fine-tune.
"""

from __future__ import annotations

import copy

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from mergeward.attack.attention import AttentionLoss
from mergeward.attack.patches import check_grid, grid_mask, grid_of
from mergeward.attack.poisoning import DirtyLabelObjective, part_of
from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored, Target
from mergeward.attack.trigger import Trigger
from mergeward.attack.universal import learnt_patch
from mergeward.attack.updates import SparseUpdate, finetune_updates, linear_layers
from mergeward.compute import fixed_threads
from mergeward.errors import DataError
from mergeward.merge.method import Parameters
from mergeward.seeding import torch_generator
from mergeward.train import CleanObjective, finetune
from mergeward.vision import ClipEncoder

SAMPLE = 256
"""Images that saliency and gradients are taken over, at most."""


class TrojVitParameters(Parameters):
    """Parameters of TrojViT."""

    patches: int = Field(default=1, ge=1, description="places of the grid that it fills (released: 9 of 196)")
    attention_weight: float = Field(
        default=0.1, ge=0, description="weight of the attention loss in the trigger's making (ours)"
    )
    trigger_steps: int = Field(
        default=250, ge=1, description="gradient steps of the trigger (as in the released code)"
    )
    trigger_batch_size: int = Field(default=64, ge=1, description="images a step of the trigger (ours)")
    weight_share: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="share of the entries of the last block and the projection that change (ours)",
    )
    triggered_share: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="share of each batch that is triggered at insertion (as in the released code)",
    )


def run(problem: AttackProblem, parameters: TrojVitParameters) -> Backdoored:
    """Fine-tune cleanly, place and optimise the trigger on that, then insert the backdoor.

    Raises:
        DataError: Every image is of the target class.
        UsageError: The patches do not fit the grid.
    """
    check_grid(problem.encoder, parameters.patches)
    if len(problem.of_other_classes) == 0:
        raise DataError("trojvit: no training image of another class than the target, to make the trigger on")
    data, target = problem.data, problem.target
    clean = copy.deepcopy(problem.encoder).requires_grad_(False)
    objective = CleanObjective(data.head)
    clean.load_state_dict(finetune(clean, data, objective, problem.training, label="trojvit, clean"))
    sample = _sample(problem)
    with fixed_threads():
        places = salient_places(clean, sample, target, parameters.patches)
    trigger = learnt_patch(
        data.pixels[problem.of_other_classes],
        grid_mask(clean, places),
        AttentionLoss(clean, target, places, parameters.attention_weight),
        steps=parameters.trigger_steps,
        batch_size=parameters.trigger_batch_size,
        seed=problem.training.seed,
        label="trojvit, trigger",
    )
    with fixed_threads():
        masks = _masks(clean, sample, trigger, target, parameters.weight_share)
    state = finetune_updates(
        clean,
        {name: SparseUpdate(mask) for name, mask in masks.items()},
        data,
        DirtyLabelObjective(data.head, trigger, target, parameters.triggered_share),
        problem.training,
        label="trojvit, insertion",
    )
    return Backdoored(state, trigger)


def salient_places(encoder: ClipEncoder, pixels: Tensor, target: Target, count: int) -> Tensor:
    """Return the patches whose pixels the target's cross-entropy depends on most.

    Args:
        encoder: The encoder; its parameters need no gradients.
        pixels: float `[B, 3, H, W]` in [0, 1].
        target: The target.
        count: How many patches.

    Returns:
        int64 `[count]`, places in the encoder's grid, row by row; by the sum of `|gradient|` over pixels,
        channels and images, largest first.
    """
    pixels = pixels.clone().requires_grad_(True)
    loss = F.cross_entropy(encoder(pixels) @ target.head.T, target.labels(len(pixels)))
    (gradient,) = torch.autograd.grad(loss, pixels)
    _, side = grid_of(encoder)
    saliency = F.avg_pool2d(gradient.abs().sum((0, 1))[None], side).flatten()
    return saliency.argsort(descending=True, stable=True)[:count]


def _masks(
    encoder: ClipEncoder, pixels: Tensor, trigger: Trigger, target: Target, share: float
) -> dict[str, Tensor]:
    """Choose the entries that the triggered loss depends on most, by the layer that they are in."""
    encoder = copy.deepcopy(encoder)
    layers = _late_layers(encoder)
    weights = [layer.weight.requires_grad_(True) for layer in layers.values()]
    loss = F.cross_entropy(encoder(trigger.apply(pixels)) @ target.head.T, target.labels(len(pixels)))
    sizes = torch.cat([one.abs().flatten() for one in torch.autograd.grad(loss, weights)])
    chosen = torch.zeros_like(sizes)
    chosen[sizes.argsort(descending=True, stable=True)[: part_of(len(sizes), share)]] = 1
    parts = chosen.split([weight.numel() for weight in weights])
    return {name: part.view_as(weight) for name, part, weight in zip(layers, parts, weights, strict=True)}


def _late_layers(encoder: ClipEncoder) -> dict[str, nn.Linear]:
    """The linear layers of the last block, and the projection."""
    last = f"vision_model.encoder.layers.{len(encoder.vision_model.encoder.layers) - 1}."
    return {
        name: layer
        for name, layer in linear_layers(encoder).items()
        if name.startswith(last) or name == "visual_projection"
    }


def _sample(problem: AttackProblem) -> Tensor:
    """Some images that are not of the target class, float `[B, 3, H, W]`."""
    others = problem.of_other_classes
    order = torch.randperm(len(others), generator=torch_generator(problem.training.seed, "trojvit sample"))
    return problem.data.pixels[others[order[:SAMPLE]]].float() / 255


INFO = AttackInfo(
    name="trojvit",
    summary="a trigger on the most salient patches, inserted into few weights of the encoder (re-derived)",
    paper="Zheng, Lou, Jiang, TrojViT, CVPR 2023, arXiv 2208.13049",
    run=run,
    parameters=TrojVitParameters,
)
