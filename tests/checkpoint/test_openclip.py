"""OpenCLIP's names and shapes as Hugging Face's; workflow/test_convert compares the numbers."""

from __future__ import annotations

import pytest
import torch

from mergeward.checkpoint import InMemory, as_hugging_face, is_openclip, resolve_scope
from mergeward.errors import CheckpointError
from openclip import small_clip

STATE = small_clip().state_dict()
VISION = {name: value for name, value in STATE.items() if name.startswith("visual.")}


def test_a_vision_tower_with_and_without_projection() -> None:
    full = as_hugging_face(InMemory(VISION))
    assert full.config is not None
    assert full.config["architectures"] == ["CLIPVisionModelWithProjection"]
    assert full.config["projection_dim"] == 24
    assert torch.equal(full.read("visual_projection.weight"), VISION["visual.proj"].T)
    bare = as_hugging_face(InMemory({name: value for name, value in VISION.items() if name != "visual.proj"}))
    assert bare.config is not None
    assert bare.config["architectures"] == ["CLIPVisionModel"]
    assert set(resolve_scope("auto", full)) - set(resolve_scope("auto", bare)) == {"visual_projection.weight"}


def test_the_configuration_is_that_of_the_shapes() -> None:
    config = as_hugging_face(InMemory(STATE)).config
    assert config is not None
    assert config["vision_config"] == {
        "model_type": "clip_vision_model",
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "num_channels": 3,
        "patch_size": 4,
        "image_size": 12,
        "projection_dim": 24,
    }
    text = config["text_config"]
    assert (text["hidden_size"], text["vocab_size"], text["max_position_embeddings"]) == (64, 30, 7)


def test_what_lies_beside_the_clip_keeps_its_name() -> None:
    state = {f"image_encoder.model.{name}": value for name, value in VISION.items()}
    view = as_hugging_face(InMemory({**state, "classification_head.weight": torch.ones(5, 24)}))
    assert "classification_head.weight" in view.tensors
    assert "visual_projection.weight" in view.tensors


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"weight": torch.ones(2)},
        {**VISION, "visual.attn_pool.query": torch.ones(2)},
        {"visual.conv1.weight": torch.ones(2, 3, 4, 4), "visual.layer1.0.conv1.weight": torch.ones(2)},
    ],
)
def test_other_models_are_not_taken_for_one(state) -> None:
    assert not is_openclip(InMemory(state))
    with pytest.raises(CheckpointError):
        as_hugging_face(InMemory(state))


BLOCK = "visual.transformer.resblocks.0."


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("visual.positional_embedding", torch.ones(11, 128), "11 positions are no square"),
        ("visual.positional_embedding", torch.ones(10), "expected 2 dimensions"),
        (f"{BLOCK}mlp.c_fc.weight", torch.ones(9, 100), "width 100 is no multiple of 64"),
        (f"{BLOCK}attn.in_proj_bias", torch.ones(100), "expected queries, keys and values"),
        ("visual.transformer.resblocks.7.ln_1.bias", torch.ones(128), "are not all there"),
    ],
)
def test_shapes_that_are_no_clip_are_refused(name: str, value: torch.Tensor, message: str) -> None:
    with pytest.raises(CheckpointError, match=f"^toy: .*{message}"):
        as_hugging_face(InMemory({**VISION, name: value}, name="toy"))
