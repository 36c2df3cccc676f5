"""Shifts, against one image at a time with its borders repeated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergeward.train import shift


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def candidates(image: torch.Tensor, reach: int) -> list[np.ndarray]:
    """Every picture that a shift of at most `reach` makes of one image `[C, H, W]`."""
    padded = np.pad(image.numpy(), ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    _, height, width = image.shape
    return [
        padded[:, row : row + height, column : column + width]
        for row in range(2 * reach + 1)
        for column in range(2 * reach + 1)
    ]


@given(
    count=st.integers(1, 4),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    reach=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_every_image_moves_within_reach(count: int, height: int, width: int, reach: int, seed: int) -> None:
    pixels = torch.randint(0, 256, (count, 3, height, width), generator=generator(seed), dtype=torch.uint8)
    before = pixels.clone()
    moved = shift(pixels, generator(seed + 1), reach)
    assert moved.shape == pixels.shape
    assert moved.dtype == torch.uint8
    assert torch.equal(pixels, before)
    for image, after in zip(pixels, moved, strict=True):
        assert any(np.array_equal(after.numpy(), one) for one in candidates(image, reach))


def test_every_offset_within_reach_occurs_and_rows_and_columns_move_apart() -> None:
    image = torch.arange(49, dtype=torch.float64).view(1, 1, 7, 7)
    moved = shift(image.expand(400, 1, 7, 7), generator(0), 1)
    assert moved.dtype == torch.float64
    assert {float(one[0, 3, 3]) for one in moved} == {
        24.0 + 7 * row + col for row in (-1, 0, 1) for col in (-1, 0, 1)
    }


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32], ids=str)
def test_the_type_is_kept(dtype: torch.dtype) -> None:
    assert shift(torch.ones(2, 3, 4, 4, dtype=dtype), generator(0)).dtype == dtype


def test_the_same_generator_gives_the_same_shifts() -> None:
    pixels = torch.rand(8, 3, 9, 9, generator=generator(0))
    first, second, other = (shift(pixels, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
