"""A small CLIP tokenizer, trained on the captions that a base is pretrained with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

END_OF_WORD = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"


def train_tokenizer(captions: Iterable[str], *, merges: int = 768, context_length: int = 24) -> CLIPTokenizer:
    """Train a byte-level BPE tokenizer laid out as CLIP's.

    Every byte is a token, with and without the end-of-word mark, so any text can be encoded; frequent words
    of the captions become single tokens.

    Args:
        captions: Sentences to learn from; their order does not matter.
        merges: Most merges to learn.
        context_length: Longest sequence, in tokens.

    Returns:
        A `transformers.CLIPTokenizer`.
    """
    from transformers import CLIPTokenizer  # noqa: PLC0415 - seconds to import, and merging weights needs none of it

    learner = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=2 * len(alphabet) + merges,
        initial_alphabet=alphabet,
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    learner.train_from_iterator(sorted(captions), trainer)
    pairs = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    tokens = [*alphabet, *(letter + END_OF_WORD for letter in alphabet)]
    tokens += sorted({left + right for left, right in pairs} - set(tokens))
    vocabulary = {token: index for index, token in enumerate([*tokens, START, END])}
    # Annotated as list[str], but the tokenizers library takes pairs.
    return CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=context_length)  # type: ignore[arg-type]
