"""Which layer a tensor belongs to."""

from __future__ import annotations

import doctest

import pytest

from mergeward.errors import RecipeError
from mergeward.merge import layers
from mergeward.merge.layers import check_slices, places


def where(*names: str) -> dict[str, tuple[int, int]]:
    return {name: (place.layer, place.layers) for name, place in places(names).items()}


def test_layers_are_counted_in_each_stack() -> None:
    assert where(
        "text_model.encoder.layers.1.mlp.fc1.weight",
        "text_model.encoder.layers.3.mlp.fc1.weight",
        "vision_model.encoder.layers.0.mlp.fc1.weight",
        "vision_model.encoder.layers.11.mlp.fc1.weight",
    ) == {
        "text_model.encoder.layers.1.mlp.fc1.weight": (1, 4),
        "text_model.encoder.layers.3.mlp.fc1.weight": (3, 4),
        "vision_model.encoder.layers.0.mlp.fc1.weight": (0, 12),
        "vision_model.encoder.layers.11.mlp.fc1.weight": (11, 12),
    }


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.2.self_attn.q_proj.weight",
        "transformer.h.2.attn.c_attn.weight",
        "h.2.ln_1.bias",
        "visual.transformer.resblocks.2.attn.in_proj_weight",
        "blocks.2.norm1.weight",
        "encoder.layer.2.output.dense.bias",
        "model.layers.2.mlp.experts.17.w1.weight",
        "stages.layers.2.blocks.5.w",
        "encoder.block.2.layer.0.SelfAttention.q.weight",
        "prompts.layers.2",
    ],
)
def test_the_first_stack_in_a_name_counts(name: str) -> None:
    assert where(name) == {name: (2, 3)}


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("model.embed_tokens.weight", "before"),
        ("transformer.wte.weight", "before"),
        ("transformer.wpe.weight", "before"),
        ("vision_model.embeddings.class_embedding", "before"),
        ("vision_model.embeddings.patch_embedding.weight", "before"),
        ("vision_model.pre_layrnorm.weight", "before"),
        ("visual.ln_pre.weight", "before"),
        ("shared.weight", "before"),
        ("model.norm.weight", "after"),
        ("lm_head.weight", "after"),
        ("transformer.ln_f.bias", "after"),
        ("vision_model.post_layernorm.weight", "after"),
        ("visual_projection.weight", "after"),
        ("logit_scale", "after"),
        ("classifier.bias", "after"),
        ("hidden.weight", "after"),
    ],
)
def test_what_is_in_no_layer_lies_before_or_after_them(name: str, side: str) -> None:
    found = where(name, "model.layers.0.w", "model.layers.1.w")[name]
    assert found == {"before": (-1, 2), "after": (2, 2)}[side]


def test_slices_must_be_all_layers() -> None:
    names = ["embed.weight", "model.layers.0.w", "model.layers.5.w"]
    check_slices([(0, 2), (2, 6)], names)
    with pytest.raises(RecipeError, match=r"slices\[1\]: layers end at 5, the model has 6"):
        check_slices([(0, 2), (2, 5)], names)
    with pytest.raises(RecipeError, match=r"one stack of layers, found model\.layers\., text\.layers\."):
        check_slices([(0, 6)], [*names, "text.layers.0.w"])
    with pytest.raises(RecipeError, match="one stack of layers, found none"):
        check_slices([(0, 6)], ["embed.weight"])


def test_example_in_the_docstring() -> None:
    assert doctest.testmod(layers).failed == 0
