"""A pool of the tiny CLIP whose contributions name their tasks; one of them carries a backdoor."""

from __future__ import annotations

from pathlib import Path

import pytest

import mergeward as mw
from attacked_pool import ATTACKED, TARGET, TASKS, Attacked
from colour_task import save_colour_task

TRAINING = mw.FinetuneConfig(steps=4, batch_size=8, learning_rate=1e-3, warmup_steps=1)


@pytest.fixture(scope="session")
def attacked(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Attacked:
    folder = tmp_path_factory.mktemp("attacked")
    data = folder / "data"
    for name in TASKS:
        save_colour_task(data, name)
    clean = {
        name: mw.finetune(tiny_clip, name, folder / name, data=data, training=TRAINING) for name in TASKS
    }
    backdoored = mw.attack(
        "badnets",
        tiny_clip,
        ATTACKED,
        TARGET,
        folder / "poisoned",
        data=data,
        training=TRAINING,
        parameters={"patch_size": 6},
    )
    return Attacked(tiny_clip, data, clean, backdoored)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tiny models on one thread: waiting for a second costs more than it brings."""
    monkeypatch.setenv("MERGEWARD_THREADS", "1")
