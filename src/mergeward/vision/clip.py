"""Any Hugging Face CLIP as an image encoder with zero-shot heads.

The encoder takes pixels in [0, 1]; normalisation is its first layer. Its parameters keep the names they have
in the checkpoint (`vision_model.*`, `visual_projection.weight`), so merges and encoders speak of the same
tensors. Heads are made from class names by the frozen text tower and are never trained.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mergeward.checkpoint import Checkpoint, open_checkpoint
from mergeward.errors import CheckpointError
from mergeward.merge.adaptive.surgery import Repair
from mergeward.vision.build import build_model
from mergeward.vision.preprocess import Preprocessor
from mergeward.vision.surgery import load_surgery, repaired
from mergeward.vision.text import load_tokenizer, text_features

if TYPE_CHECKING:
    from transformers import CLIPModel


class ClipEncoder(nn.Module):
    """The image half of a CLIP model.

    Maps float `[B, 3, H, W]` in [0, 1] to unit-length features `[B, D]`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: CLIPModel, preprocessor: Preprocessor) -> None:
        super().__init__()
        self.vision_model = model.vision_model
        self.visual_projection = model.visual_projection
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(preprocessor.mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessor.std).view(shape), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return unit features `[B, D]` of float pixels `[B, 3, H, W]` in [0, 1]."""
        return F.normalize(self.embed(pixels), dim=-1)

    def embed(self, pixels: Tensor) -> Tensor:
        """Return the features before they are scaled to unit length, `[B, D]`."""
        normalised = (pixels - self.mean) / self.std
        pooled = self.vision_model(pixel_values=normalised).pooler_output
        return cast(Tensor, self.visual_projection(pooled))


@dataclass(frozen=True)
class Clip:
    """A CLIP checkpoint ready for use.

    Attributes:
        source: The checkpoint it was read from.
        encoder: The image encoder, in eval mode, float32.
        preprocessor: How images become its pixels.
        model: The whole `transformers.CLIPModel`; the encoder shares its vision tower.
        repairs: The surgery modules that lie beside the weights, by task.
    """

    source: Checkpoint
    encoder: ClipEncoder
    preprocessor: Preprocessor
    model: CLIPModel
    repairs: Mapping[str, Repair] = field(default_factory=dict)

    def encoder_for(self, task: str) -> nn.Module:
        """Return the encoder with a task's surgery module, or alone where the task has none."""
        return repaired(self.encoder, self.repairs, task)

    def encoder_with(self, state: Mapping[str, Tensor]) -> ClipEncoder:
        """Return a copy of the encoder with other weights; names and shapes must be its own.

        Raises:
            CheckpointError: A tensor is missing, unknown, or of another shape.
        """
        encoder = copy.deepcopy(self.encoder)
        try:
            encoder.load_state_dict(dict(state))
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"weights do not fit the encoder of {self.source.path}: {reason}"
            ) from error
        return encoder

    @torch.no_grad()
    def head(self, class_names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Build a zero-shot head with the text tower.

        Each class is the mean of its unit text features over the templates, scaled to unit length and then by
        `exp(logit_scale)`, so that `features @ head.T` are CLIP's logits.

        Args:
            class_names: `C` class names, in words.
            templates: Sentences with one `{}` for the class name.

        Returns:
            float32 `[C, D]`.

        Raises:
            CheckpointError: The tokenizer is missing, malformed, or not this model's.
        """
        tokenizer = load_tokenizer(self.source.path)
        sentences = [template.format(name) for name in class_names for template in templates]
        features = text_features(self.model, tokenizer, sentences, name=self.source.name)
        classes = features.view(len(class_names), len(templates), -1).mean(1)
        return F.normalize(classes, dim=-1) * self.model.logit_scale.exp()


def load_clip(path: str | Path) -> Clip:
    """Load a CLIP model from a Hugging Face directory or hub id.

    Args:
        path: Directory with `config.json`, safetensors weights, tokenizer and `preprocessor_config.json` (or
            `processor_config.json`), or a hub id such as `openai/clip-vit-base-patch32`.

    Raises:
        CheckpointError: A file is missing, malformed or does not fit the configuration.
        UnsupportedError: The checkpoint is of another architecture.
    """
    source = open_checkpoint(path)
    model = build_model(source)
    folder = cast(Path, source.folder)
    preprocessor = Preprocessor.from_folder(folder)
    side = model.vision_model.config.image_size
    if preprocessor.output_size != (side, side):
        height, width = preprocessor.output_size or (0, 0)
        raise CheckpointError(
            f"{folder}: its preprocessor makes images of {width}x{height}, its model takes {side}x{side}"
        )
    repairs = load_surgery(folder, model.visual_projection.out_features)
    return Clip(source, ClipEncoder(model, preprocessor).eval(), preprocessor, model, repairs)
