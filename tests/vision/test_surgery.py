"""Surgery modules beside a model's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mergeward.checkpoint import open_checkpoint
from mergeward.errors import CheckpointError
from mergeward.merge.adaptive.surgery import Repair
from mergeward.vision import SURGERY, repaired, surgery_files
from mergeward.vision.surgery import load_surgery

WIDTH = 4


def repair(seed: int = 0, rank: int = 2) -> Repair:
    generator = torch.Generator().manual_seed(seed)
    return Repair(
        torch.randn(rank, WIDTH, generator=generator), torch.randn(WIDTH, rank, generator=generator)
    )


def save(folder: Path, **tensors: torch.Tensor) -> None:
    dotted = {name.replace("_", "."): tensor.clone() for name, tensor in tensors.items()}
    save_file(dotted, folder / SURGERY)


def test_modules_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    written = {"warm.blue": repair(1), "cold": repair(2, rank=3)}
    for name, content in surgery_files(written, {"made": "here"}).items():
        (tmp_path / name).write_bytes(content)
    found = load_surgery(tmp_path, WIDTH)
    assert sorted(found) == ["cold", "warm.blue"]
    for task, one in written.items():
        assert torch.equal(found[task].down, one.down)
        assert torch.equal(found[task].up, one.up)
    with open_checkpoint(tmp_path / SURGERY) as file:
        assert file.metadata == {"made": "here"}


def test_no_modules_are_no_file_and_no_file_is_no_modules(tmp_path: Path) -> None:
    assert surgery_files({}, {}) == {}
    assert load_surgery(tmp_path, WIDTH) == {}


def test_an_encoder_is_repaired_for_the_tasks_that_have_a_module() -> None:
    encoder, one = torch.nn.Linear(3, WIDTH), repair()
    pixels = torch.rand(5, 3)
    assert repaired(encoder, {"cold": one}, "warm") is encoder
    features = repaired(encoder, {"cold": one}, "cold")(pixels)
    torch.testing.assert_close(features, one.apply(encoder(pixels)))
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(5))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    down, up = torch.ones(2, WIDTH), torch.ones(WIDTH, 2)

    def refused(match: str, **tensors: torch.Tensor) -> None:
        save(tmp_path, **tensors)
        with pytest.raises(CheckpointError, match=match):
            load_surgery(tmp_path, WIDTH)

    refused("'up.cold' is without its counterpart", down_cold=down)
    refused("'up.cold' is without its counterpart", up_cold=up)
    refused("'other' is without its counterpart", down_cold=down, up_cold=up, other=up)
    refused(r"expected \[r, 4\] and \[4, r\]", down_cold=torch.ones(2, 5), up_cold=up)
    refused(r"expected \[r, 4\] and \[4, r\]", down_cold=down, up_cold=torch.ones(WIDTH, 3))
    refused(r"expected \[r, 4\] and \[4, r\]", down_cold=torch.ones(0, WIDTH), up_cold=torch.ones(WIDTH, 0))
    refused("of no floating type", down_cold=down, up_cold=up.int())
    refused("NaN or infinity", down_cold=down * float("nan"), up_cold=up)
    (tmp_path / SURGERY).write_bytes(b"\x08")
    with pytest.raises(CheckpointError, match=SURGERY):
        load_surgery(tmp_path, WIDTH)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "model"
    inside.mkdir()
    save(tmp_path, down_cold=torch.ones(2, WIDTH), up_cold=torch.ones(WIDTH, 2))
    (inside / SURGERY).symlink_to(tmp_path / SURGERY)
    with pytest.raises(CheckpointError, match="a link out of its folder"):
        load_surgery(inside, WIDTH)
