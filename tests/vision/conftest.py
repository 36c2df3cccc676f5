"""A tiny random CLIP in Hugging Face layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from letter_clip import letter_tokenizer, save_clip, tiny_model


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that tests read."""
    tokenizer = letter_tokenizer()
    return save_clip(tmp_path_factory.mktemp("clip") / "tiny", tiny_model(tokenizer), tokenizer)


@pytest.fixture
def own_clip(tiny_clip: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(tiny_clip, tmp_path / "clip"))
