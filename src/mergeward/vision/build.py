"""From a checkpoint's configuration and tensors to a `transformers.CLIPModel`, both taken as hostile."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError

from mergeward.checkpoint import Checkpoint
from mergeward.errors import CheckpointError, UnsupportedError

if TYPE_CHECKING:
    from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig

TOWERS = ("text_config", "vision_config")

# What transformers raises on settings that make no model.
_MALFORMED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    StrictDataclassError,
    TypeError,
    ValueError,
)

# Settings that are not of the architecture: how a model is run, in which type it was saved, and which code to
# fetch for it (an attention implementation may be the name of a repository).
_NOT_ARCHITECTURE = frozenset(
    {
        "_attn_implementation",
        "attn_implementation",
        "auto_map",
        "dtype",
        "experts_implementation",
        "output_attentions",
        "output_hidden_states",
        "quantization_config",
        "return_dict",
        "torch_dtype",
    }
)


def build_model(source: Checkpoint) -> CLIPModel:
    """Build the model that a checkpoint holds.

    Shapes are compared before memory is taken for a single tensor, and no random number is drawn.

    Args:
        source: A checkpoint with `config.json`.

    Returns:
        The model in eval mode, float32, frozen.

    Raises:
        CheckpointError: The configuration makes no model, or the tensors are not the ones it asks for.
        UnsupportedError: The configuration is not that of a CLIP model for colour images.
    """
    from transformers import CLIPModel  # noqa: PLC0415 - seconds to import, and merging weights needs none of it

    config = _config(source)
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the first values of weights, of which these have none
            model = CLIPModel(config)
    except _MALFORMED as error:
        raise _malformed(source, error) from error
    model = cast("CLIPModel", model.float())
    _check_tensors(source, model)
    model.to_empty(device="cpu")
    for name, buffer in model.named_buffers():
        if not name.endswith(".position_ids"):
            raise UnsupportedError(
                f"{source.path}: buffer {name!r} of this transformers version is not known"
            )
        buffer.copy_(torch.arange(buffer.shape[-1]).expand_as(buffer))
    model.load_state_dict({name: source.read(name) for name in model.state_dict()})
    return cast("CLIPModel", model.eval().requires_grad_(requires_grad=False))


def _config(source: Checkpoint) -> CLIPConfig:
    from transformers import CLIPConfig  # noqa: PLC0415 - as above

    content = source.config
    if content is None:
        raise CheckpointError(f"{source.path}: no config.json; expected a CLIP model in Hugging Face layout")
    if content.get("model_type") != "clip":
        found = content.get("model_type")
        raise UnsupportedError(f"{source.path}: expected a CLIP model (model_type 'clip'), found {found!r}")
    settings = _architecture(content)
    for tower in TOWERS:
        if isinstance(settings.get(tower), Mapping):
            settings[tower] = _architecture(settings[tower])
    try:
        config = CLIPConfig.from_dict(settings, attn_implementation="sdpa")
    except _MALFORMED as error:
        raise _malformed(source, error) from error
    for tower in TOWERS:
        layers = getattr(config, tower).num_hidden_layers
        if layers > len(source.tensors):
            raise CheckpointError(
                f"{source.path}: {tower} asks for {layers} layers, more than there are tensors"
            )
    if cast("CLIPVisionConfig", config.vision_config).num_channels != 3:
        raise UnsupportedError(f"{source.path}: expected a model for images of 3 channels (num_channels)")
    return config


def _architecture(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in _NOT_ARCHITECTURE}


def _check_tensors(source: Checkpoint, model: CLIPModel) -> None:
    expected = model.state_dict()
    missing = sorted(expected.keys() - source.tensors.keys())
    if missing:
        raise CheckpointError(f"{source.path}: {len(missing)} tensors missing, first {missing[0]!r}")
    for name, tensor in expected.items():
        found = source.tensors[name]
        if found.shape != tuple(tensor.shape):
            raise CheckpointError(
                f"{source.path}: tensor {name!r} has shape {found.shape}, "
                f"config.json asks for {tuple(tensor.shape)}"
            )
        if not found.dtype.is_floating_point:
            raise CheckpointError(
                f"{source.path}: tensor {name!r} is {found.dtype}, expected a floating type"
            )


def _malformed(source: Checkpoint, error: Exception) -> CheckpointError:
    reason = " ".join(str(error).split())
    return CheckpointError(
        f"{source.path}: config.json makes no CLIP model ({type(error).__name__}: {reason})"
    )
