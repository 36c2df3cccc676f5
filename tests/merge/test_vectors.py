"""Task-vector sums against plain float64 arithmetic on whole vectors."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from mergeward.checkpoint import InMemory
from mergeward.merge.vectors import VectorSums, layer_of, vector_sums
from toy_models import base_state, tuned_states

COUNT = 4
BASE = base_state()
TUNED = tuned_states(BASE, COUNT)
SCOPE = [name for name, value in BASE.items() if value.is_floating_point()]


def sums(dtype: torch.dtype = torch.float32) -> VectorSums:
    models = [
        InMemory(
            {name: value.to(dtype) if value.is_floating_point() else value for name, value in one.items()}
        )
        for one in (BASE, *TUNED)
    ]
    return vector_sums(models[0], models[1:], SCOPE)


def whole_vectors() -> Tensor:
    """float64 `[N, P]`."""
    return torch.stack(
        [torch.cat([(one[name] - BASE[name]).flatten() for name in SCOPE]) for one in TUNED]
    ).double()


def test_norms_and_cosines() -> None:
    vectors, found = whole_vectors(), sums()
    torch.testing.assert_close(found.norms, vectors.norm(dim=1))
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found.cosines, unit @ unit.T)


def test_signs_agree_where_both_moved() -> None:
    vectors, found = whole_vectors(), sums()
    for i in range(COUNT):
        for j in range(COUNT):
            both = (vectors[i] != 0) & (vectors[j] != 0)
            same = (vectors[i, both] > 0) == (vectors[j, both] > 0)
            assert float(found.sign_agreement[i, j]) == float(same.double().mean())


def test_layers_add_up() -> None:
    found = sums()
    assert found.layers == ("embed", "block.10", "block.2", "norm", "logit_scale", "unused")
    torch.testing.assert_close(found.layer_norms.square().sum(0).sqrt(), found.norms)
    block = torch.stack(
        [
            torch.cat(
                [(one[f"block.2.{kind}"] - BASE[f"block.2.{kind}"]).flatten() for kind in ("weight", "bias")]
            )
            for one in TUNED
        ]
    )
    torch.testing.assert_close(found.layer_norms[2], block.double().norm(dim=1))


def test_large_tensors_are_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sums()
    monkeypatch.setattr(sys.modules[vector_sums.__module__], "CHUNK", 1000)
    parts = sums()
    torch.testing.assert_close(parts.products, whole.products)
    assert torch.equal(parts.agree, whole.agree)
    assert torch.equal(parts.moved, whole.moved)


def test_half_precision_is_subtracted_in_float32() -> None:
    found = sums(torch.bfloat16)
    halves = [
        torch.cat(
            [(one[name].bfloat16().float() - BASE[name].bfloat16().float()).flatten() for name in SCOPE]
        )
        for one in TUNED
    ]
    torch.testing.assert_close(found.norms, torch.stack(halves).double().norm(dim=1))


def test_a_vector_of_zeros_has_no_direction() -> None:
    found = vector_sums(InMemory(BASE), [InMemory(BASE), InMemory(TUNED[0])], SCOPE)
    assert float(found.norms[0]) == 0
    assert bool(found.cosines[0].isnan().all())
    assert bool(found.sign_agreement[0].isnan().all())


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("vision_model.encoder.layers.11.self_attn.q_proj.bias", "vision_model.encoder.layers.11"),
        ("vision_model.embeddings.class_embedding", "vision_model.embeddings"),
        ("visual_projection.weight", "visual_projection"),
        ("layer1.0.conv2.weight", "layer1.0"),
        ("logit_scale", "logit_scale"),
    ],
)
def test_layers_are_named_up_to_their_number(name: str, layer: str) -> None:
    assert layer_of(name) == layer
