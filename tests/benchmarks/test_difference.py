from __future__ import annotations

import pytest
import torch
from torch import Tensor

from peers import small
from peers.difference import difference

BASE = {"a": torch.zeros(4), "b": torch.zeros(2, 2), "ids": torch.arange(3)}


def changed(a: list[float], **more: Tensor) -> dict[str, Tensor]:
    return {**BASE, "a": torch.tensor(a), **more}


def test_differences_are_counted_against_rounding_and_the_peers_change() -> None:
    found = difference(changed([1, 2, 3, 4]), changed([1, 2, 3, 5]), BASE, rounding=0.5)
    assert (found.largest, found.relative, found.agreement, found.compared) == (1, 0.2, 7 / 8, 8)
    assert found.remarks == ()


def test_random_masks_are_compared_where_both_kept() -> None:
    found = difference(changed([2, 2, 0, 0]), changed([0, 2, 2, 0]), BASE, rounding=0, kept_only=True)
    assert (found.largest, found.agreement, found.compared) == (0, 1, 1)
    assert "ours changed 0.250, the peer 0.250" in found.remarks[0]


def test_what_else_differs_is_remarked() -> None:
    odd = changed([0, 0, 0, 0], ids=torch.arange(3.0))
    del odd["b"]
    found = difference(changed([0, 0, 0, 0], ids=torch.ones(3, dtype=torch.int64)), odd, BASE, rounding=0)
    assert set(found.remarks) == {
        "no tensor b in the peer's output",
        "ours changed ids",
        "the peer made ids float32",
    }


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ValueError, match="in common"):
        difference({}, {}, BASE, rounding=0)
    with pytest.raises(ValueError, match="no element"):
        difference(BASE, BASE, BASE, rounding=0, kept_only=True)


def test_the_small_checkpoints_hold_what_tools_differ_on() -> None:
    base, first = small.tensors(0), small.tensors(1)
    update = {name: (first[name] - base[name]).float() for name in base}
    assert not update["frozen.weight"].any()
    assert update["layers.1.attention.weight"].std() > 50 * update["layers.1.mlp.weight"].std()
    assert base["logit_scale"].numel() == 1
    assert not base[small.BUFFER].is_floating_point()
    assert torch.equal(small.tensors(1)["layers.0.mlp.weight"], first["layers.0.mlp.weight"])
