"""Restricted updates train nothing but themselves."""

from __future__ import annotations

import pytest
import torch

from mergeward.attack.updates import LowRankUpdate, SparseUpdate, finetune_updates, linear_layers
from mergeward.train import CleanObjective, FinetuneConfig, TrainingData
from mergeward.vision import Clip

CONFIG = FinetuneConfig(steps=3, batch_size=6, warmup_steps=1, learning_rate=1e-2)


def tuned(clip: Clip, data: TrainingData, updates: dict[str, torch.nn.Module]) -> dict[str, torch.Tensor]:
    return finetune_updates(clip.encoder, updates, data, CleanObjective(data.head), CONFIG, label="test")


def test_the_linear_layers_are_those_of_the_blocks_and_the_projection(clip: Clip) -> None:
    names = linear_layers(clip.encoder)
    assert len(names) == 2 * 6 + 1
    assert "visual_projection" in names
    assert "vision_model.encoder.layers.1.mlp.fc2" in names


def test_a_low_rank_update_has_its_rank_and_leaves_the_rest_alone(clip: Clip, data: TrainingData) -> None:
    name = "vision_model.encoder.layers.0.mlp.fc1"
    weight = linear_layers(clip.encoder)[name].weight
    state = tuned(clip, data, {name: LowRankUpdate(weight, 2, torch.Generator().manual_seed(0))})
    before = clip.encoder.state_dict()
    assert list(state) == list(before)
    changed = [key for key in state if not torch.equal(state[key], before[key])]
    assert changed == [f"{name}.weight"]
    difference = (state[changed[0]] - before[changed[0]]).double()
    sizes = torch.linalg.svdvals(difference)
    assert int((sizes > 1e-5 * sizes[0]).sum()) == 2


def test_a_low_rank_update_is_nothing_at_first(clip: Clip) -> None:
    weight = clip.encoder.visual_projection.weight
    assert torch.equal(LowRankUpdate(weight, 3, torch.Generator())(weight), weight)


def test_a_sparse_update_moves_the_entries_of_its_mask_and_no_others(clip: Clip, data: TrainingData) -> None:
    before = clip.encoder.state_dict()
    weight = before["visual_projection.weight"]
    mask = (torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) < 0.2).float()
    state = tuned(clip, data, {"visual_projection": SparseUpdate(mask)})
    moved = state["visual_projection.weight"] != weight
    assert torch.equal(moved, mask.bool())
    others = [key for key in state if key != "visual_projection.weight"]
    assert all(torch.equal(state[key], before[key]) for key in others)


@pytest.mark.parametrize("rank", [1, 4])
def test_the_encoder_is_left_as_it_is(clip: Clip, data: TrainingData, rank: int) -> None:
    before = {name: value.clone() for name, value in clip.encoder.state_dict().items()}
    layers = linear_layers(clip.encoder)
    updates = {
        name: LowRankUpdate(layer.weight, rank, torch.Generator().manual_seed(2))
        for name, layer in layers.items()
    }
    tuned(clip, data, updates)
    assert list(clip.encoder.state_dict()) == list(before)
    assert all(torch.equal(value, clip.encoder.state_dict()[name]) for name, value in before.items())
