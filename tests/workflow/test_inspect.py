"""What is said of a model file is what is in it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mergeward.checkpoint import open_checkpoint
from mergeward.errors import CheckpointError, UsageError
from mergeward.provenance import Provenance
from mergeward.workflow import inspect
from toy_models import base_state, save_folder, tuned_states

BASE = base_state()
TUNED = {**tuned_states(BASE, 1)[0], **{k: v for k, v in BASE.items() if not v.is_floating_point()}}
RECORD = Provenance(kind="contribution", method="badnets", backdoor=True)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_folder(tmp_path / "base", BASE, config={"model_type": "toy"})


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    return save_folder(
        tmp_path / "tuned",
        TUNED,
        config={"model_type": "toy"},
        metadata={**RECORD.to_metadata(), "who": "me"},
    )


def test_tensors_hashes_and_record_are_those_of_the_file(tuned: Path) -> None:
    found = inspect(tuned)
    assert (found.kind, found.model_type, found.distance) == ("checkpoint", "toy", None)
    assert {one.name: (one.dtype, one.shape, one.nbytes) for one in found.tensors} == {
        name: (str(value.dtype).removeprefix("torch."), tuple(value.shape), value.nbytes)
        for name, value in TUNED.items()
    }
    assert found.nbytes == sum(value.nbytes for value in TUNED.values())
    weights = tuned / "model.safetensors"
    assert found.sha256 == {weights.name: hashlib.sha256(weights.read_bytes()).hexdigest()}
    assert found.provenance == RECORD
    assert found.metadata == {"format": "pt", "who": "me"}


def test_the_distance_is_that_of_the_values(base: Path, tuned: Path) -> None:
    distance = inspect(tuned, base).distance
    assert distance is not None
    floats = [name for name, value in BASE.items() if value.is_floating_point()]
    changes = {name: TUNED[name].double() - BASE[name].double() for name in floats}
    whole = torch.cat([change.flatten() for change in changes.values()])
    assert distance.norm == pytest.approx(float(whole.norm()))
    layers = {one.layer: one for one in distance.layers}
    block = torch.cat([changes["block.2.weight"].flatten(), changes["block.2.bias"]])
    found = layers["block.2"]
    assert found.values == block.numel()
    assert found.norm == pytest.approx(float(block.norm()))
    assert found.rms == pytest.approx(float(block.square().mean().sqrt()))
    assert found.share == pytest.approx(float(block.norm() ** 2 / whole.norm() ** 2))
    assert sum(one.share for one in distance.layers) == pytest.approx(1.0)


def test_a_model_that_is_its_base(base: Path) -> None:
    distance = inspect(base, base).distance
    assert distance is not None
    assert distance.norm == 0
    assert all((one.norm, one.rms, one.share) == (0, 0, 0) for one in distance.layers)


def test_json_has_every_field(base: Path, tuned: Path) -> None:
    found = inspect(tuned, base)
    content = json.loads(json.dumps(found.to_json()))
    assert content.keys() == vars(found).keys()
    assert content["tensors"][0].keys() == vars(found.tensors[0]).keys()
    assert content["provenance"]["backdoor"] is True
    assert content["distance"]["layers"][0].keys() == {"layer", "values", "norm", "rms", "share"}


def test_a_pickle_is_listed_without_being_run(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2, 3)}, tmp_path / "model.pt")
    found = inspect(tmp_path / "model.pt")
    assert (found.kind, [one.name for one in found.tensors]) == ("pickle", ["w"])


def test_an_adapter_is_seen_on_its_base(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 1, "lora_alpha": 2}')
    factors = {"A": torch.ones(1, 5), "B": torch.ones(33, 1)}
    save_file(
        {f"base_model.model.block.2.lora_{name}.weight": value for name, value in factors.items()},
        folder / "adapter_model.safetensors",
    )
    found = inspect(folder, base)
    assert found.kind == "adapter"
    assert set(found.sha256) == {"adapter_model.safetensors", "adapter_config.json"}
    assert found.distance is not None
    assert found.distance.norm == pytest.approx(2 * (33 * 5) ** 0.5)
    with pytest.raises(UsageError, match="give --base"):
        inspect(folder)


def test_a_stranger_is_refused(base: Path, tmp_path: Path) -> None:
    other = save_folder(tmp_path / "other", {"w": torch.ones(1)})
    with pytest.raises(CheckpointError, match="not a fine-tune of"):
        inspect(other, base)


def test_nothing_is_read_without_a_base(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "model", {"w": torch.full((3,), float("nan"))})
    assert len(inspect(folder).tensors) == 1
    with open_checkpoint(folder) as checkpoint, pytest.raises(CheckpointError):
        checkpoint.read("w")
