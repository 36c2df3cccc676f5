"""Contrastive pretraining: its loss, its files, and going on after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPModel, CLIPTokenizer

from colour_task import colour_task
from mergeward.errors import DataError
from mergeward.progress import listen
from mergeward.testbed import PretrainConfig, pretrain
from mergeward.testbed.pretrain import contrastive_loss
from mergeward.testbed.tokenizer import train_tokenizer
from mergeward.vision import load_clip

CONFIG = PretrainConfig(steps=4, batch_size=8, warmup_steps=1, save_every=2)
TASKS = [colour_task("warm", side=32), colour_task("cold", side=32)]


class Interrupter:
    """A user who presses Ctrl-C at the third step."""

    steps = 0

    def start(self, label: str, total: int, unit: str) -> int:
        return 0

    def advance(self, handle: int, amount: int, note: str) -> None:
        self.steps += 1
        if self.steps == 3:
            raise KeyboardInterrupt

    def finish(self, handle: int) -> None:
        pass


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pretrained") / "base"
    pretrain(TASKS, out, CONFIG)
    return out


def test_the_folder_loads_without_our_code(base: Path) -> None:
    assert CLIPModel.from_pretrained(base).config.vision_config.hidden_act == "quick_gelu"
    tokens = CLIPTokenizer.from_pretrained(base)("a photo of a red square.").input_ids
    assert tokens[-1] == CLIPModel.from_pretrained(base).config.text_config.eos_token_id
    assert load_clip(base).head(("red square", "blue circle"), ("{}",)).shape == (2, 128)
    assert "SHA-256" in (base / "README.md").read_text(encoding="utf-8")


def test_an_interrupted_run_goes_on_to_the_same_bits(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "base"
    with listen(Interrupter()), pytest.raises(KeyboardInterrupt):
        pretrain(TASKS, out, CONFIG)
    assert not out.exists()
    assert (tmp_path / "base.progress.safetensors").is_file()
    pretrain(TASKS, out, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
    whole, resumed = (load_file(path / "model.safetensors") for path in (base, out))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_too_few_images_for_a_batch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fewer than one batch"):
        pretrain(TASKS[:1], tmp_path / "base", PretrainConfig(batch_size=64))


def test_the_loss_is_the_symmetric_cross_entropy() -> None:
    random = np.random.default_rng(0)
    images, texts = random.normal(size=(5, 3)), random.normal(size=(2, 3))
    owners, scale = np.array([0, 1, 1, 0, 1]), 3.0
    logits = scale * images @ texts.T
    rows = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    columns = logits - np.log(np.exp(logits).sum(0, keepdims=True))
    to_text = -np.mean([rows[index, owner] for index, owner in enumerate(owners)])
    to_image = -np.mean([columns[owners == phrase, phrase].mean() for phrase in range(2)])
    found = contrastive_loss(
        torch.from_numpy(images), torch.from_numpy(texts), torch.from_numpy(owners), torch.tensor(scale)
    )
    assert found.item() == pytest.approx((to_text + to_image) / 2, rel=1e-12)


def test_any_text_can_be_encoded() -> None:
    tokenizer = train_tokenizer(["a photo of a cat"], merges=20)
    for text in ("a photo of a cat", "Zebra, №5 日本"):
        tokens = tokenizer(text).input_ids
        assert tokenizer.decode(tokens, skip_special_tokens=True).replace(" ", "") == text.lower().replace(
            " ", ""
        )
