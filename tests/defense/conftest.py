"""A merged tiny CLIP with its base, as a defense is given them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from letter_clip import SIDE
from mergeward.defense import HardenProblem
from mergeward.merge.adaptive import UnlabelledTask
from mergeward.vision import load_clip
from tiny_clip import save_tuned


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tiny models on one thread: waiting for a second costs more than it brings."""
    monkeypatch.setenv("MERGEWARD_THREADS", "1")


def unlabelled(name: str, *, images: int, seed: int) -> UnlabelledTask:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (images, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    return UnlabelledTask(name, pixels, torch.randn(3, 12, generator=generator))


@pytest.fixture
def problem(tiny_clip: Path, tmp_path: Path) -> HardenProblem:
    merged = load_clip(save_tuned(tiny_clip, tmp_path / "merged", seed=1, size=0.3))
    base = load_clip(tiny_clip).encoder.state_dict()
    tasks = (unlabelled("one", images=5, seed=2), unlabelled("two", images=9, seed=3))
    return HardenProblem(merged.encoder, base, tasks, seed=0)


@pytest.fixture
def other(problem: HardenProblem) -> dict[str, Tensor]:
    """Another model of the same base."""
    generator = torch.Generator().manual_seed(4)
    return {
        name: value + torch.randn(value.shape, generator=generator) for name, value in problem.base.items()
    }


@pytest.fixture
def double(problem: HardenProblem) -> HardenProblem:
    """The problem in float64."""
    base = {name: value.double() for name, value in problem.base.items()}
    return dataclasses.replace(problem, encoder=problem.encoder.double(), base=base)
