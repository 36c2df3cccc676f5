"""The test-bed's architecture: a CLIP small enough to train on two cores, and otherwise like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mergeward.seeding import derived_seed
from mergeward.vision import Preprocessor

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPTokenizer

IMAGE_SIZE = 32
PREPROCESSOR = Preprocessor(resize=IMAGE_SIZE, crop=(IMAGE_SIZE, IMAGE_SIZE))


def new_model(tokenizer: CLIPTokenizer, *, seed: int) -> CLIPModel:
    """Return an untrained model: ViT with patch 8, width 160, depth 6; text width 128, depth 2.

    Args:
        tokenizer: Decides the vocabulary and the context length.
        seed: Seed of the initial weights.
    """
    from transformers import CLIPConfig, CLIPModel  # noqa: PLC0415 - seconds to import, and merging weights needs none of it

    config = CLIPConfig(
        projection_dim=128,
        vision_config={
            "hidden_size": 160,
            "intermediate_size": 640,
            "num_hidden_layers": 6,
            "num_attention_heads": 5,
            "image_size": IMAGE_SIZE,
            "patch_size": 8,
            "projection_dim": 128,
            "hidden_act": "quick_gelu",
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": tokenizer.model_max_length,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "projection_dim": 128,
            "hidden_act": "quick_gelu",
        },
    )
    # Initialisers of transformers draw from the global generator; fork_rng gives it back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "testbed", "initial weights"))  # noqa: TID251
        return CLIPModel(config)
