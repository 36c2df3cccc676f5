"""The tiny CLIP, and an attacker's task that fits it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from colour_task import colour_task
from mergeward.attack import AttackProblem, Target
from mergeward.attack.shadow import shadow_class_names
from mergeward.train import FinetuneConfig, TrainingData
from mergeward.vision import Clip, ClipEncoder, load_clip
from mergeward.workflow import PreparedTask


@pytest.fixture(scope="session")
def clip(tiny_clip: Path) -> Clip:
    return load_clip(tiny_clip)


@pytest.fixture
def tuned(clip: Clip) -> ClipEncoder:
    """An encoder some way off the base."""
    generator = torch.Generator().manual_seed(3)
    return clip.encoder_with(
        {
            name: value + 0.2 * torch.randn(value.shape, generator=generator)
            for name, value in clip.encoder.state_dict().items()
        }
    )


@pytest.fixture(scope="session")
def prepared(clip: Clip) -> PreparedTask:
    return PreparedTask(colour_task(), clip)


@pytest.fixture(scope="session")
def data(prepared: PreparedTask) -> TrainingData:
    return prepared.training_data()


@pytest.fixture
def problem(clip: Clip, data: TrainingData) -> AttackProblem:
    """The target is a class of the attacker's own task."""
    training = FinetuneConfig(steps=3, batch_size=6, warmup_steps=1)
    return AttackProblem(clip.encoder, data, Target(data.head, 1), training)


@pytest.fixture
def off_task(problem: AttackProblem, clip: Clip, prepared: PreparedTask) -> AttackProblem:
    """The target is a class of somebody else's task: the first of five shadow classes."""
    names = shadow_class_names("stop sign", 4, seed=0)
    references = prepared.pixels("validation")[:3]
    return replace(problem, target=Target(clip.head(names, ["{}"]), 0, references))
