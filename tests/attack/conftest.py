"""The tiny CLIP, and an attacker's task that fits it."""

from __future__ import annotations

from pathlib import Path

import pytest

from colour_task import colour_task
from mergeward.attack import AttackProblem, Target
from mergeward.train import FinetuneConfig, TrainingData
from mergeward.vision import Clip, load_clip
from mergeward.workflow import PreparedTask


@pytest.fixture(scope="session")
def clip(tiny_clip: Path) -> Clip:
    return load_clip(tiny_clip)


@pytest.fixture(scope="session")
def prepared(clip: Clip) -> PreparedTask:
    return PreparedTask(colour_task(), clip)


@pytest.fixture(scope="session")
def data(prepared: PreparedTask) -> TrainingData:
    return prepared.training_data()


@pytest.fixture
def problem(clip: Clip, data: TrainingData) -> AttackProblem:
    training = FinetuneConfig(steps=3, batch_size=6, warmup_steps=1)
    return AttackProblem(clip.encoder, data, Target(data.head, 1), training)
