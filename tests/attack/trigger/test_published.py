"""Triggers as BadMerging's authors published them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mergeward.attack.trigger.published import MAX_BYTES, read_published_patch
from mergeward.attack.trigger.trigger import MAX_SIDE
from mergeward.errors import CheckpointError, UsageError

MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])
LOW, HIGH = -1.7923, 2.1459


def published(side: int, seed: int = 0) -> np.ndarray:
    """A patch as the published code bounds it: all colours by the widest of their ranges."""
    return np.random.default_rng(seed).uniform(LOW, HIGH, (3, side, side))


@pytest.mark.parametrize("side", [22, 28])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_it_becomes_a_patch_in_pixel_space(side: int, dtype: str, order: str, tmp_path: Path) -> None:
    patch = published(side).astype(dtype)
    np.save(tmp_path / "one.npy", np.asarray(patch, order=order))  # type: ignore[call-overload]
    trigger = read_published_patch(tmp_path / "one.npy", 224)
    assert trigger.image_size == (224, 224)
    assert trigger.mask.sum() == side**2
    assert trigger.mask[:, -side:, -side:].min() == 1
    expected = np.clip(patch.astype(np.float64) * STD[:, None, None] + MEAN[:, None, None], 0, 1)
    np.testing.assert_allclose(trigger.pattern[:, -side:, -side:], expected, atol=1e-6)


def test_a_black_corner_of_a_patch_is_still_part_of_it(tmp_path: Path) -> None:
    patch = published(22)
    patch[:, 0, 0] = (0 - MEAN) / STD
    np.save(tmp_path / "one.npy", patch)
    trigger = read_published_patch(tmp_path / "one.npy", 224)
    assert trigger.mask[0, -22, -22] == 1
    assert trigger.pattern[:, -22, -22].abs().max() < 1e-6


def test_a_patch_larger_than_the_images_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", published(22))
    with pytest.raises(UsageError, match="does not fit"):
        read_published_patch(tmp_path / "one.npy", 21)


def test_images_that_no_trigger_is_read_for_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", published(22))
    assert read_published_patch(tmp_path / "one.npy", MAX_SIDE).image_size == (MAX_SIDE, MAX_SIDE)
    for side in (MAX_SIDE + 1, 10**9):
        with pytest.raises(UsageError, match=f"image size {side}: expected at most {MAX_SIDE}"):
            read_published_patch(tmp_path / "one.npy", side)


HOSTILE: dict[str, np.ndarray | bytes] = {
    "pickled objects": np.array([{"a": 1}], dtype=object),
    "whole numbers": np.zeros((3, 4, 4), np.int64),
    "one channel": np.zeros((1, 4, 4)),
    "flat": np.zeros((3, 16)),
    "not square": np.zeros((3, 4, 5)),
    "nothing": np.zeros((3, 0, 0)),
    "pixels of eight bits": np.full((3, 4, 4), 128.0),
    "NaN": np.full((3, 4, 4), np.nan),
    "infinity": np.full((3, 4, 4), np.inf),
    "empty": b"",
    "a pickle": b"\x80\x04K\x01.",
    "another version": b"\x93NUMPY\x02\x00" + b"\0" * 60,
    "a header without end": b"\x93NUMPY\x01\x00\xff\xff{'descr'",
}


def header(text: str) -> bytes:
    padded = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded


HOSTILE |= {
    "more than memory": header(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 10000000, 10000000), }"
    ),
    "a size below zero": header("{'descr': '<f4', 'fortran_order': False, 'shape': (3, -4, -4), }"),
    "a size beyond whole numbers": header(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1e9, 1e9), }"
    ),
    "cut off": header("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4, 4), }") + b"\0" * 100,
    "a header that is a call": header("print('x')"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_on_one_line(case: str, tmp_path: Path) -> None:
    content, path = HOSTILE[case], tmp_path / "one.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(CheckpointError, match=r"one\.npy") as caught:
        read_published_patch(path, 224)
    assert "\n" not in str(caught.value)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_published_patch(tmp_path / "one.npy", 224)
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_published_patch(tmp_path, 224)
    with (tmp_path / "large.npy").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(CheckpointError, match="larger than"):
        read_published_patch(tmp_path / "large.npy", 224)
