"""Fused and split queries, keys and values are two views of one model, bit by bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mergeward.checkpoint import InMemory, TensorSource, fuse_qkv, open_checkpoint, split_qkv
from mergeward.errors import CheckpointError
from toy_models import save_folder


def fused_state(rows: int = 4, columns: int = 3, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(rows + 10 * columns)
    shapes = {
        "ln.weight": (columns,),
        "attn.in_proj_weight": (3 * rows, columns),
        "attn.in_proj_bias": (3 * rows,),
        "attn.out_proj.weight": (columns, rows),
        "in_proj_weight": (3 * rows, columns),
    }
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def same(source: TensorSource, state: dict[str, Tensor]) -> None:
    assert list(source.tensors) == list(state)
    for name, value in state.items():
        info = source.tensors[name]
        assert (info.shape, info.dtype, info.nbytes) == (tuple(value.shape), value.dtype, value.nbytes)
        assert torch.equal(source.read(name), value)
        assert torch.equal(source.view(name), value)


@given(st.integers(0, 5), st.integers(1, 4), st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_there_and_back_is_the_same(rows: int, columns: int, dtype: torch.dtype) -> None:
    state = fused_state(rows, columns, dtype)
    split = split_qkv(InMemory(state))
    same(fuse_qkv(split), state)
    same(split_qkv(fuse_qkv(split)), {name: split.read(name) for name in split.tensors})


def test_the_thirds_are_queries_keys_and_values() -> None:
    state = fused_state(rows=2)
    split = split_qkv(InMemory(state))
    assert list(split.tensors)[:4] == [
        "ln.weight",
        "attn.q_proj.weight",
        "attn.k_proj.weight",
        "attn.v_proj.weight",
    ]
    assert torch.equal(split.read("attn.k_proj.weight"), state["attn.in_proj_weight"][2:4])
    assert torch.equal(split.read("attn.v_proj.bias"), state["attn.in_proj_bias"][4:6])
    assert torch.equal(split.read("q_proj.weight"), state["in_proj_weight"][:2])


def test_a_file_is_seen_so_too(tmp_path: Path) -> None:
    state = fused_state()
    with open_checkpoint(save_folder(tmp_path / "model", state, config={"model_type": "toy"})) as checkpoint:
        again = fuse_qkv(split_qkv(checkpoint))
        assert again.config == {"model_type": "toy"}
        for name, value in state.items():
            assert torch.equal(again.read(name), value)


def test_what_cannot_be_cut_in_three_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"toy: tensor 'attn.in_proj_bias' has shape \[4\]; expected"):
        split_qkv(InMemory({"attn.in_proj_bias": torch.ones(4)}, name="toy"))


def test_grouped_queries_have_no_fused_form() -> None:
    shapes = {"q": 8, "k": 2, "v": 2}
    state = {f"attn.{name}_proj.weight": torch.ones(rows, 3) for name, rows in shapes.items()}
    with pytest.raises(CheckpointError, match=r"'attn\.k_proj\.weight' is not of the shape of"):
        fuse_qkv(InMemory(state))


def test_two_of_three_are_refused() -> None:
    state = {f"attn.{name}_proj.weight": torch.ones(2, 3) for name in "qk"}
    with pytest.raises(CheckpointError, match=r"no tensor 'attn\.v_proj\.weight'"):
        fuse_qkv(InMemory(state))


def test_values_that_are_not_finite_are_refused_under_the_name_of_the_view() -> None:
    state = {"attn.in_proj_bias": torch.tensor([1.0, 2.0, float("nan")])}
    split = split_qkv(InMemory(state, name="toy"))
    assert float(split.read("attn.k_proj.bias")) == 2.0
    with pytest.raises(CheckpointError, match=r"toy: tensor 'attn.v_proj.bias' holds NaN"):
        split.read("attn.v_proj.bias")
