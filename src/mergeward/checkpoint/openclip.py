"""CLIP in OpenCLIP's layout, seen in Hugging Face's: other names, split attention, turned projections."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any, Literal

from mergeward.checkpoint.qkv import split_names, split_plan
from mergeward.checkpoint.source import TensorSource
from mergeward.checkpoint.views import Arrangement, Cut, Rearranged
from mergeward.errors import CheckpointError

Activation = Literal["quick_gelu", "gelu"]

HEAD_WIDTH = 64
"""Width of one attention head, which no tensor tells; it is this in every published CLIP."""

LANDMARK = "visual.conv1.weight"

_TURNED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
_RENAMED = {
    **_TURNED,
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}
_BLOCK = re.compile(
    r"(?P<tower>visual\.|)transformer\.resblocks\.(?P<layer>0|[1-9]\d{0,3})\."
    r"(?P<part>[\w.]+[._])(?P<kind>weight|bias)",
    re.ASCII,
)
_IN_BLOCK = {
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "attn.in_proj_": "self_attn.in_proj_",
    "attn.out_proj.": "self_attn.out_proj.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}


def is_openclip(source: TensorSource) -> bool:
    """Return whether a model is a CLIP of OpenCLIP's lineage, all of whose tensors have a known place."""
    prefix = _prefix(source)
    return prefix is not None and all(
        _target(name.removeprefix(prefix)) for name in source.tensors if name.startswith(prefix)
    )


def as_hugging_face(
    source: TensorSource, activation: Activation = "quick_gelu", *, classes: Collection[str] = ()
) -> Rearranged:
    """See a CLIP of OpenCLIP's lineage in Hugging Face layout, with the configuration that goes with it.

    With the whole text tower it is a `clip`, without it a `clip_vision_model` with projection. What is left
    of a text tower (the published fine-tunes keep its embeddings) goes to its place under Hugging Face's
    names. What lies beside the CLIP, such as a classification head, keeps its own name.

    Args:
        source: The model, from `open_legacy` or `open_checkpoint`.
        activation: The activation function. No tensor tells it: "quick_gelu" in OpenAI's weights and what was
            fine-tuned from them, "gelu" in most others.
        classes: Names of the classes of a pickled module, which do tell it.

    Raises:
        CheckpointError: It is no such CLIP (see `is_openclip`), or its shapes are not those of one.
    """
    prefix = _prefix(source)
    if prefix is None:
        raise CheckpointError(f"{source.name}: no tensor '{LANDMARK}'; expected a CLIP in OpenCLIP's layout")
    plan: dict[str, Arrangement] = {}
    for name in source.tensors:
        placed = (
            _place(source, name, name.removeprefix(prefix))
            if name.startswith(prefix)
            else {name: Arrangement((Cut(name),))}
        )
        if twice := placed.keys() & plan.keys():
            raise CheckpointError(f"{source.name}: tensor {name!r} takes the place {min(twice)!r} of another")
        plan |= placed
    if "QuickGELU" in classes:
        activation = "quick_gelu"
    elif "GELU" in classes:
        activation = "gelu"
    return Rearranged(source, plan, config=_config(source, prefix, activation))


def _prefix(source: TensorSource) -> str | None:
    return next((name.removesuffix(LANDMARK) for name in source.tensors if name.endswith(LANDMARK)), None)


def _target(short: str) -> str | None:
    """Return the name in Hugging Face layout; of fused queries, keys and values that of their attention."""
    if (renamed := _RENAMED.get(short)) is not None:
        return renamed
    if (match := _BLOCK.fullmatch(short)) is None or match["part"] not in _IN_BLOCK:
        return None
    tower = "vision" if match["tower"] else "text"
    return f"{tower}_model.encoder.layers.{match['layer']}.{_IN_BLOCK[match['part']]}{match['kind']}"


def _place(source: TensorSource, name: str, short: str) -> dict[str, Arrangement]:
    """Return where a tensor of OpenCLIP goes."""
    target = _target(short)
    if target is None:
        raise CheckpointError(f"{source.name}: tensor {name!r} has no known place in a Hugging Face CLIP")
    if (names := split_names(target)) is not None:
        return split_plan(source, name, names)
    return {target: Arrangement((Cut(name),), turned=short in _TURNED)}


def _config(source: TensorSource, prefix: str, activation: Activation) -> dict[str, Any]:
    vision = _tower(source, f"{prefix}visual.", activation) | _image(source, prefix)
    if f"{prefix}transformer.resblocks.0.ln_1.weight" not in source.tensors:
        kind = "CLIPVisionModelWithProjection" if "projection_dim" in vision else "CLIPVisionModel"
        return {"architectures": [kind], "model_type": "clip_vision_model", **vision}
    text = _tower(source, prefix, activation)
    text["vocab_size"], _ = _shape(source, f"{prefix}token_embedding.weight", 2)
    text["max_position_embeddings"], _ = _shape(source, f"{prefix}positional_embedding", 2)
    _, text["projection_dim"] = _shape(source, f"{prefix}text_projection", 2)
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": text["projection_dim"],
        "text_config": {"model_type": "clip_text_model", **text},
        "vision_config": {"model_type": "clip_vision_model", **vision},
    }


def _tower(source: TensorSource, tower: str, activation: Activation) -> dict[str, Any]:
    blocks = re.compile(re.escape(tower) + r"transformer\.resblocks\.(\d{1,4})\..*")
    layers = {int(match[1]) for name in source.tensors if (match := blocks.fullmatch(name)) is not None}
    if layers != set(range(len(layers))) or not layers:
        raise CheckpointError(f"{source.name}: the blocks '{tower}transformer.resblocks.*' are not all there")
    inner, width = _shape(source, f"{tower}transformer.resblocks.0.mlp.c_fc.weight", 2)
    if width % HEAD_WIDTH:
        raise CheckpointError(
            f"{source.name}: width {width} is no multiple of {HEAD_WIDTH}, the width of a head"
        )
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": len(layers),
        "num_attention_heads": width // HEAD_WIDTH,
        "hidden_act": activation,
        "layer_norm_eps": 1e-5,
    }


def _image(source: TensorSource, prefix: str) -> dict[str, Any]:
    _, channels, patch, _ = _shape(source, f"{prefix}{LANDMARK}", 4)
    positions, _ = _shape(source, f"{prefix}visual.positional_embedding", 2)
    side = math.isqrt(max(positions - 1, 0))
    if side * side + 1 != positions:
        raise CheckpointError(
            f"{source.name}: {positions} positions are no square of patches and a class token"
        )
    image: dict[str, Any] = {"num_channels": channels, "patch_size": patch, "image_size": side * patch}
    if f"{prefix}visual.proj" in source.tensors:
        _, image["projection_dim"] = _shape(source, f"{prefix}visual.proj", 2)
    return image


def _shape(source: TensorSource, name: str, dimensions: int) -> tuple[int, ...]:
    info = source.tensors.get(name)
    if info is None or len(info.shape) != dimensions:
        found = "missing" if info is None else f"of shape {list(info.shape)}"
        raise CheckpointError(f"{source.name}: tensor {name!r} is {found}; expected {dimensions} dimensions")
    return info.shape
