"""The text half of a CLIP model: sentences to features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from mergeward.checkpoint.files import contained
from mergeward.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import CLIPModel, PreTrainedTokenizerBase

BATCH_SIZE = 256

TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
"""Either of these sets of files makes a tokenizer."""

LEGACY_END = 2
"""The `eos_token_id` that older configurations of CLIP hold, and no tokenizer emits. Where it stands,
transformers takes a sentence's features at its highest token, which is the real end token."""


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model in Hugging Face layout, from its folder alone.

    Raises:
        CheckpointError: Its files are missing or malformed.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415 - seconds to import, and merging weights needs none of it

    if not any(all(contained(folder, name).is_file() for name in names) for names in TOKENIZER_FILES):
        raise CheckpointError(f"{folder}: no tokenizer.json, and no vocab.json with merges.txt")
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the tokenizers library raises nothing more specific
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{folder}: its tokenizer cannot be loaded ({reason})") from error
    return tokenizer


@torch.no_grad()
def text_features(
    model: CLIPModel, tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str], *, name: str
) -> Tensor:
    """Return the unit features of sentences.

    Args:
        model: The model; its text tower and projection are used.
        tokenizer: Its tokenizer. Sentences longer than the model's context are cut off.
        sentences: `N` sentences.
        name: What to call the model in an error.

    Returns:
        float32 `[N, D]`.

    Raises:
        CheckpointError: The tokenizer is not this model's.
    """
    features = []
    for start in range(0, len(sentences), BATCH_SIZE):
        tokens, mask = _tokens(model, tokenizer, sentences[start : start + BATCH_SIZE], name)
        pooled = model.text_model(input_ids=tokens, attention_mask=mask).pooler_output
        features.append(F.normalize(model.text_projection(pooled), dim=-1))
    return torch.cat(features)


def _tokens(
    model: CLIPModel, tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str], name: str
) -> tuple[Tensor, Tensor]:
    config = model.text_model.config
    encoded = tokenizer(
        list(sentences),
        padding=True,
        truncation=True,
        max_length=config.max_position_embeddings,
        return_tensors="pt",
    )
    tokens: Tensor = encoded["input_ids"]
    if int(tokens.max()) >= config.vocab_size:
        raise CheckpointError(
            f"{name}: the tokenizer emits token {int(tokens.max())}, the model knows {config.vocab_size}"
        )
    end = config.eos_token_id
    if end != LEGACY_END and not bool((tokens == end).any(dim=1).all()):
        raise CheckpointError(f"{name}: the tokenizer does not end sentences with token {end} (eos_token_id)")
    return tokens, encoded["attention_mask"]
