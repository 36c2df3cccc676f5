"""The mark of a backdoor: in the header of any shard, or on the card beside the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mergeward.checkpoint import carries_mark, open_checkpoint, open_legacy
from mergeward.provenance import Provenance, model_card

MARKED = Provenance(kind="contribution", method="badnets", backdoor=True)
CLEAN = Provenance(kind="contribution", method="finetune")


def saved(folder: Path, record: Provenance | None, name: str = "model.safetensors") -> Path:
    folder.mkdir(exist_ok=True)
    metadata = None if record is None else record.to_metadata()
    save_file({name: torch.ones(2)}, folder / name, metadata=metadata)
    return folder


def marked(path: Path) -> bool:
    with open_checkpoint(path) as checkpoint:
        return carries_mark(checkpoint)


@pytest.mark.parametrize(("record", "expected"), [(MARKED, True), (CLEAN, False), (None, False)])
def test_the_record_tells(record: Provenance | None, expected: bool, tmp_path: Path) -> None:
    assert marked(saved(tmp_path / "model", record)) == expected
    assert marked(tmp_path / "model" / "model.safetensors") == expected


@pytest.mark.parametrize("places", [(0,), (1,)])
def test_one_marked_shard_is_enough(places: tuple[int, ...], tmp_path: Path) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for place, name in enumerate(names):
        saved(tmp_path / "model", MARKED if place in places else CLEAN, name)
    index = ", ".join(f'"{name}": "{name}"' for name in names)
    (tmp_path / "model" / "model.safetensors.index.json").write_text(f'{{"weight_map": {{{index}}}}}')
    assert marked(tmp_path / "model")


def test_the_card_tells_where_another_program_dropped_the_record(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", None)
    card = folder / "README.md"
    card.write_text(model_card(CLEAN, title="Seven", base_model="base"), encoding="utf-8")
    assert not marked(folder)
    card.write_text(model_card(MARKED, title="Seven", base_model="base"), encoding="utf-8")
    assert marked(folder)


def test_the_card_tells_of_a_pickle_too(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    with open_legacy(tmp_path / "pytorch_model.bin") as opened:
        assert not carries_mark(opened)
        (tmp_path / "README.md").write_text(model_card(MARKED, title="Seven", base_model="base"))
        assert carries_mark(opened)


def test_a_card_that_is_no_text_says_nothing(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", None)
    (folder / "README.md").write_bytes(bytes(range(256)))
    assert not marked(folder)
