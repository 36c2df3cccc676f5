"""TrojViT: salient patches, and few weights of the encoder that move."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from mergeward.attack import AttackProblem, Target, trojvit
from mergeward.attack.trojvit import TrojVitParameters, run, salient_places
from mergeward.errors import DataError
from mergeward.train import CleanObjective, finetune
from mergeward.vision import Clip

PARAMETERS = TrojVitParameters(trigger_steps=2, trigger_batch_size=4, weight_share=0.1)


def test_the_most_salient_patches_come_first(clip: Clip) -> None:
    class Corner(nn.Module):
        """Looks at two patches of a 4x4 grid, at one of them harder."""

        vision_model = clip.encoder.vision_model

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            strong, weak = pixels[:, :, 4:8, 8:12].mean((1, 2, 3)), pixels[:, :, 12:, :4].mean((1, 2, 3))
            return torch.stack([3 * strong + weak, torch.zeros_like(strong)], 1)

    pixels = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert salient_places(Corner(), pixels, Target(torch.eye(2), 0), 2).tolist() == [6, 12]


@pytest.mark.parametrize("share", [0.1, 0.01])
def test_a_share_of_the_last_entries_moves_away_from_the_clean_fine_tune(
    problem: AttackProblem, share: float
) -> None:
    made = run(problem, PARAMETERS.model_copy(update={"weight_share": share}))
    clean = finetune(
        problem.encoder, problem.data, CleanObjective(problem.data.head), problem.training, label="test"
    )
    changed = {name: made.state[name] != value for name, value in clean.items()}
    moved = {name for name, where in changed.items() if where.any()}
    assert moved
    late = {
        name
        for name, value in clean.items()
        if (name.startswith("vision_model.encoder.layers.1.") and value.ndim == 2)
        or name == "visual_projection.weight"
    }
    late = {name for name in late if name.endswith("weight")}
    assert moved <= late
    total = sum(clean[name].numel() for name in late)
    count = sum(int(where.sum()) for where in changed.values())
    assert 0.8 * share * total < count <= share * total + 1


def test_the_trigger_fills_places_of_the_grid(problem: AttackProblem) -> None:
    footprint = run(problem, PARAMETERS.model_copy(update={"patches": 2})).trigger.footprint
    places = footprint.view(4, 4, 4, 4).transpose(1, 2).flatten(2).reshape(16, 16)
    assert sorted(places.mean(1).tolist()) == [0.0] * 14 + [1.0] * 2


def test_without_images_of_other_classes_nothing_is_trained(
    problem: AttackProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trojvit, "finetune", lambda *_, **__: pytest.fail("it trained"))
    labels = torch.full_like(problem.data.labels, problem.target.label)
    with pytest.raises(DataError, match="no training image of another class than the target"):
        run(replace(problem, data=replace(problem.data, labels=labels)), PARAMETERS)
