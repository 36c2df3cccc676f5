"""Two small tasks as files, and a contribution to each: one clean, one of each kind backdoored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

import mergeward as mw
from colour_task import save_colour_task

TRAINING = mw.FinetuneConfig(steps=4, batch_size=8, learning_rate=1e-3, warmup_steps=1)


@dataclass(frozen=True)
class Pool:
    """Folders that tests read and do not write to."""

    base: Path
    data: Path
    clean: Path
    other: Path
    backdoored: Path


@pytest.fixture(scope="session")
def pool(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    data = folder / "data"
    for name in ("warm", "cold"):
        save_colour_task(data, name)
    made = {
        name: mw.finetune(tiny_clip, name, folder / name, data=data, training=TRAINING)
        for name in ("warm", "cold")
    }
    backdoored = mw.attack(
        "badnets",
        tiny_clip,
        "cold",
        "red square",
        folder / "poisoned",
        data=data,
        training=TRAINING,
        parameters={"patch_size": 6},
    )
    return Pool(tiny_clip, data, made["warm"], made["cold"], backdoored)
