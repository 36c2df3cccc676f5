"""Opening and reading models that are what they should be."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from mergeward.checkpoint import InMemory, digest_all, digests, open_checkpoint
from mergeward.errors import CheckpointError
from toy_models import base_state, save_folder

STATE = base_state()


@pytest.fixture(params=[1, 3], ids=["one file", "three shards"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save_folder(
        tmp_path / "model", STATE, shards=request.param, config={"model_type": "toy"}, metadata={"who": "me"}
    )


def test_every_tensor_is_read_as_it_was_written(folder: Path) -> None:
    with open_checkpoint(folder) as checkpoint:
        assert set(checkpoint.tensors) == set(STATE)
        for name, value in STATE.items():
            assert checkpoint.read(name).dtype == value.dtype
            assert torch.equal(checkpoint.read(name), value)


def test_tensors_are_known_without_being_read(folder: Path) -> None:
    with open_checkpoint(folder) as checkpoint:
        for name, value in STATE.items():
            info = checkpoint.tensors[name]
            assert (info.shape, info.dtype) == (tuple(value.shape), value.dtype)
            assert (info.nbytes, info.numel) == (value.nbytes, value.numel())
            assert (folder / info.file).is_file()


def test_order_is_that_of_the_bytes(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "model", STATE)
    content = (folder / "model.safetensors").read_bytes()
    with open_checkpoint(folder) as checkpoint:
        places = [
            content.find(checkpoint.read(name).numpy().tobytes()) for name in ("block.2.weight", "mask")
        ]
        names = list(checkpoint.tensors)
    assert (places[0] < places[1]) == (names.index("block.2.weight") < names.index("mask"))


def test_shards_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    with open_checkpoint(save_folder(tmp_path / "model", STATE, shards=3)) as checkpoint:
        files = [info.file for info in checkpoint.tensors.values()]
    assert files == sorted(files)


def test_configuration_and_metadata_are_read(folder: Path) -> None:
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.config == {"model_type": "toy"}
        assert checkpoint.metadata == {"format": "pt", "who": "me"}
        assert checkpoint.folder == folder
        assert checkpoint.name == str(folder)


def test_a_single_file_has_no_folder(folder: Path) -> None:
    path = min(folder.glob("*.safetensors"))
    with open_checkpoint(str(path)) as checkpoint:
        assert (checkpoint.path, checkpoint.folder, checkpoint.config) == (path, None, None)
        assert set(checkpoint.tensors) <= set(STATE)


def test_hashes_are_those_of_the_files(folder: Path) -> None:
    expected = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.safetensors")
    }
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.sha256() == expected
        if len(expected) == 1:
            assert checkpoint.digest() == next(iter(expected.values()))


def test_the_digest_of_shards_changes_with_each_of_them(tmp_path: Path) -> None:
    changed = {**STATE, "logit_scale": torch.tensor(7.0)}
    digests = set()
    for name, state in {"a": STATE, "b": changed}.items():
        with open_checkpoint(save_folder(tmp_path / name, state, shards=3)) as checkpoint:
            digests.add(checkpoint.digest())
    assert len(digests) == 2


def test_an_unknown_tensor_is_refused_by_name(folder: Path) -> None:
    with open_checkpoint(folder) as checkpoint, pytest.raises(CheckpointError, match=r"no tensor 'nothing'"):
        checkpoint.read("nothing")


def test_reading_after_closing_is_refused(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    checkpoint.close()
    with pytest.raises(CheckpointError, match="after it was closed"):
        checkpoint.read("logit_scale")


def test_memory_looks_like_a_file() -> None:
    source = InMemory(STATE, name="mine", config={"model_type": "toy"})
    assert list(source.tensors) == list(STATE)
    assert source.tensors["embed.weight"].shape == (11, 7)
    assert torch.equal(source.read("embed.weight"), STATE["embed.weight"])
    with pytest.raises(CheckpointError, match="mine: no tensor 'nothing'"):
        source.read("nothing")


def test_a_header_of_any_length_is_read(tmp_path: Path) -> None:
    """One in thirty-two headers has a length whose first byte is that of a pickle, 0x80."""
    first_bytes = set()
    for length in range(0, 256, 8):
        path = save_folder(
            tmp_path / str(length), {"w": STATE["norm.weight"]}, metadata={"note": "n" * length}
        )
        first_bytes.add((path / "model.safetensors").read_bytes()[0])
        with open_checkpoint(path) as checkpoint:
            assert torch.equal(checkpoint.read("w"), STATE["norm.weight"])
    assert 0x80 in first_bytes


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_only_a_checked_read_refuses_what_is_not_finite(dtype: torch.dtype, tmp_path: Path) -> None:
    for index, number in enumerate([float("nan"), float("inf"), float("-inf")]):
        state = {"w": torch.tensor([1.0, number, -number], dtype=dtype)}
        with open_checkpoint(save_folder(tmp_path / str(index), state)) as checkpoint:
            for source in (checkpoint, InMemory(state)):
                assert torch.equal(source.view("w").nan_to_num(), state["w"].nan_to_num())
                with pytest.raises(CheckpointError, match="'w' holds NaN or infinity"):
                    source.read("w")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_values_whose_sum_overflows_are_finite(dtype: torch.dtype) -> None:
    largest = torch.full((5,), torch.finfo(dtype).max, dtype=dtype)
    assert torch.equal(InMemory({"w": largest}).read("w"), largest)


def test_several_models_are_hashed_together_and_each_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [
        save_folder(tmp_path / str(seed), base_state(seed=seed), shards=shards)
        for seed, shards in enumerate((1, 3, 2))
    ]
    read: list[Path] = []
    file_sha256 = digests.file_sha256
    monkeypatch.setattr(digests, "file_sha256", lambda path: (read.append(path), file_sha256(path))[1])
    with ExitStack() as stack:
        models = [stack.enter_context(open_checkpoint(folder)) for folder in (*folders, folders[0])]
        found = digest_all(models)
        assert len(read) == len(set(read)) == 6
        assert found == [model.digest() for model in models]
