"""CLIP models with a token for each letter, to build folders with any tokenizer and configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from mergeward.vision import Preprocessor

LETTERS = "abcdefghijklmnopqrstuvwxyz."
TOWER = {"intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
SIDE = 16


def letter_tokenizer(**special: str) -> CLIPTokenizer:
    """A CLIP tokenizer without merges: a token a letter, and one more for the last letter of a word."""
    tokens = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate([*tokens, *special.values()])}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=20, **special)


def tiny_model(tokenizer: CLIPTokenizer, **text: Any) -> CLIPModel:
    """A random model whose text and image features are all different."""
    config = CLIPConfig(
        projection_dim=12,
        text_config={
            **TOWER,
            "hidden_size": 8,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 20,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **text,
        },
        vision_config={**TOWER, "hidden_size": 16, "image_size": SIDE, "patch_size": 4},
        logit_scale_init_value=1.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPModel(config).eval()
        for value in model.parameters():
            if value.ndim > 0:
                value.data = 0.3 * torch.randn(value.shape)
    return model


def save_clip(folder: Path, model: CLIPModel, tokenizer: CLIPTokenizer) -> Path:
    """Write a whole model folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = Preprocessor(resize=SIDE, crop=(SIDE, SIDE)).to_config()
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
