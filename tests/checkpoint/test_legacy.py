"""Files of torch.save give the tensors that were saved, under the names of a state dict."""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mergeward.checkpoint import open_legacy
from mergeward.checkpoint.vocabulary import DTYPES
from mergeward.errors import CheckpointError

BOTH = pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "old format"])


def saved(value: Any, folder: Path, as_zip: bool = True) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old format looks for the source of the classes
        torch.save(value, folder / "model.pt", _use_new_zipfile_serialization=as_zip)
    return folder / "model.pt"


class Numbers(nn.Module):
    """Buffers of both kinds, a parameter that is missing, and two parts that are one."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.full((2, 2), float("-inf")), persistent=False)
        self.register_buffer("steps", torch.tensor(7))
        self.register_parameter("missing", None)
        self.first = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.tied = self.first


Numbers.__module__ = "src.modeling"


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("src", "src.modeling"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["src.modeling"].Numbers = Numbers  # type: ignore[attr-defined]


@BOTH
def test_every_type(as_zip: bool, tmp_path: Path) -> None:
    state = {str(dtype): torch.tensor([[0, 1], [1, 1]], dtype=dtype) for dtype in DTYPES.values()}
    checkpoint = open_legacy(saved(state, tmp_path, as_zip))
    for name, value in state.items():
        info = checkpoint.tensors[name]
        assert (info.dtype, info.shape, info.nbytes) == (value.dtype, (2, 2), value.nbytes)
        assert torch.equal(checkpoint.read(name), value)


@BOTH
def test_a_module_has_the_names_of_its_state_dict(as_zip: bool, published: None, tmp_path: Path) -> None:
    module = Numbers()
    checkpoint = open_legacy(saved(module, tmp_path, as_zip))
    expected = module.state_dict()
    assert list(checkpoint.tensors) == list(expected)
    assert all(torch.equal(checkpoint.read(name), value) for name, value in expected.items())
    assert {"Numbers", "Linear", "BatchNorm1d"} <= checkpoint.classes


@given(rows=st.integers(0, 4), columns=st.integers(0, 4), step=st.integers(1, 3), turned=st.booleans())
def test_views_of_one_storage(rows: int, columns: int, step: int, turned: bool, tmp_path_factory) -> None:
    whole = torch.randn(6, 7, dtype=torch.float64)
    part = whole[rows::step, columns:]
    state = {"part": part.T if turned else part, "whole": whole, "empty": whole[:0], "one": whole[2, 3]}
    checkpoint = open_legacy(saved(state, tmp_path_factory.mktemp("model")))
    for name, value in state.items():
        assert torch.equal(checkpoint.view(name), value)


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_training_checkpoints(wrapper: str, tmp_path: Path) -> None:
    content = {
        "epoch": 3,
        wrapper: {"w": torch.ones(2)},
        "optimizer": {"state": {0: torch.ones(1)}, "lr": [0.1]},
    }
    checkpoint = open_legacy(saved(content, tmp_path))
    assert list(checkpoint.tensors) == ["w"]
    assert checkpoint.left_out == ("epoch", "optimizer")


def test_what_is_not_known_is_refused_by_its_name(tmp_path: Path) -> None:
    path = saved({"w": torch.ones(1), "path": Path("x")}, tmp_path)
    with pytest.raises(
        CheckpointError, match=r"model\.pt: names pathlib\.PosixPath, which no checkpoint needs"
    ):
        open_legacy(path)


def test_a_file_that_shrinks_is_refused(tmp_path: Path) -> None:
    path = saved({"w": torch.ones(1000)}, tmp_path)
    checkpoint = open_legacy(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r"model\.pt: tensor 'w' is cut short"):
        checkpoint.read("w")
    with pytest.raises(CheckpointError, match="no tensor 'x'"):
        checkpoint.read("x")
