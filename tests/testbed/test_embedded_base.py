"""The base in the package: an ordinary CLIP folder that knows something of the embedded tasks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import CLIPModel

from mergeward.evaluate import accuracy, predict
from mergeward.tasks.embedded import EMBEDDED
from mergeward.testbed import base_path
from mergeward.vision import Clip, load_clip

MAX_BYTES = 8_000_000


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clip(base_path("embedded"))


def test_it_loads_by_transformers_alone_and_is_small() -> None:
    folder = Path(base_path("embedded"))
    assert CLIPModel.from_pretrained(folder).config.vision_config.hidden_act == "quick_gelu"
    assert (folder / "model.safetensors").stat().st_size <= MAX_BYTES


@pytest.mark.parametrize("name", EMBEDDED)
def test_it_beats_twice_chance_on_every_task(
    name: str, clip: Clip, monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    monkeypatch.setattr(
        "mergeward.tasks.embedded.SPLIT_SIZES",
        dict.fromkeys(("train", "adapt"), 10)
        | {
            "validation": 10,
            "test": 100,
        },
    )
    from mergeward.workflow import PreparedTask, open_task  # noqa: PLC0415 - after the sizes are patched

    prepared = PreparedTask(open_task(name, None, 7), clip)
    predicted = predict(clip.encoder, prepared.pixels("test"), prepared.head)
    assert torch.isfinite(prepared.head).all()
    assert accuracy(predicted, prepared.labels("test")).value > 0.2
