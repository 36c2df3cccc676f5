"""Triggers in folders: they come back as they were, and say what they were made for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from example_triggers import (
    EXAMPLES,
    PREPROCESSOR,
    images,
    noise,
    random_generator,
    random_patch,
    saved,
    write,
)
from mergeward.attack import load_trigger
from mergeward.attack.trigger import BlendTrigger
from mergeward.errors import UsageError
from mergeward.vision import Preprocessor


@pytest.mark.parametrize("kind", EXAMPLES)
def test_it_comes_back_from_a_folder_bit_by_bit(kind: str, tmp_path: Path) -> None:
    before = saved(kind)
    after = load_trigger(write(tmp_path, before))
    assert type(after.trigger) is type(before.trigger)
    tensors = after.trigger.tensors()
    assert list(tensors) == list(before.trigger.tensors())
    assert all(torch.equal(value, tensors[name]) for name, value in before.trigger.tensors().items())
    assert after.trigger.settings() == before.trigger.settings()
    assert after.trigger.image_size == (8, 8)
    assert (after.attack, after.task, after.target_class) == ("badnets", "digits", "digit one")
    assert after.preprocessor == PREPROCESSOR
    assert after.fingerprint == before.fingerprint
    assert torch.equal(after.trigger.apply(images()), before.trigger.apply(images()))
    assert not any(value.requires_grad for value in tensors.values())


def test_the_fingerprint_changes_with_everything_in_it() -> None:
    others = [
        saved(trigger=random_patch(seed=1)),
        saved(trigger=random_patch(patch=2)),
        saved("blend"),
        saved("additive"),
        saved("blend", trigger=BlendTrigger(noise(3, 8, 8), 0.3)),
        saved("warp"),
        saved("generator"),
        saved("generator", trigger=random_generator(seed=1)),
        saved(attack="other"),
        saved(task="other"),
        saved(target_class="other"),
        saved(preprocessor=Preprocessor(resize=9, crop=(8, 8))),
    ]
    assert len({trigger.fingerprint for trigger in (saved(), *others)}) == 13


def test_it_says_for_which_preprocessing_it_was_made() -> None:
    assert saved().unlike(PREPROCESSOR) is None
    assert saved().unlike(replace(PREPROCESSOR, mean=(0.5, 0.5, 0.5))) is None
    same_size = saved().unlike(replace(PREPROCESSOR, resize=(8, 8)))
    assert same_size == (
        "the trigger was made for images prepared by bicubic resize of the shortest edge to 8, crop to 8x8, "
        "these are prepared by bicubic resize to 8x8, crop to 8x8"
    )
    other_size = saved().unlike(Preprocessor(resize=None, crop=(16, 16)))
    assert other_size is not None
    assert other_size.endswith("these are prepared by crop to 16x16; it is resized, and may do less")


@pytest.mark.parametrize("key", ["attack", "task", "target_class"])
@pytest.mark.parametrize("name", ["two\nlines", "no\u00a0break", "a\x1b[2J", 5000 * "a"])
def test_what_nobody_could_read_back_is_not_made(key: str, name: str) -> None:
    with pytest.raises(UsageError, match=f"^{key} must be text on one line, found '") as caught:
        saved(**{key: name})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200
