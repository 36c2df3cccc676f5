"""Adapters of PEFT against base + scaling * B @ A in float64, and the refusal of what is no plain LoRA."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPModel

from mergeward.checkpoint import (
    Adapter,
    Checkpoint,
    InMemory,
    check_compatible,
    open_checkpoint,
    open_contribution,
)
from mergeward.errors import CheckpointError
from tiny_clip import save_tiny_clip
from toy_models import save_folder

PREFIX = "base_model.model."
A, B = "lora_A.weight", "lora_B.weight"


def base_model(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "layers.0.q_proj.weight": (6, 5),
        "layers.0.q_proj.bias": (6,),
        "layers.1.q_proj.weight": (6, 5),
        "layers.1.q_proj.bias": (6,),
        "conv.weight": (4, 3, 2, 2),
        "head.weight": (3, 6),
        "head.bias": (3,),
    }
    state = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
    return {**state, "position_ids": torch.arange(4)}


BASE = base_model()


def factors(module: str, rank: int = 2, shape: tuple[int, int] = (6, 5), seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    out, into = shape
    return {
        f"{PREFIX}{module}.{A}": torch.randn((rank, into), generator=generator),
        f"{PREFIX}{module}.{B}": torch.randn((out, rank), generator=generator),
    }


def save_adapter(folder: Path, tensors: Mapping[str, Tensor], **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "bias": "none", **settings}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(dict(tensors), folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def opened(folder: Path, base: Mapping[str, Tensor] = BASE) -> Adapter:
    adapter = open_contribution(folder, InMemory(base, name="base"))
    assert isinstance(adapter, Adapter)
    return adapter


def plain(base: Tensor, a: Tensor, b: Tensor, scaling: float) -> Tensor:
    return base.double() + scaling * (b.double() @ a.double())


@given(rank=st.integers(1, 9), alpha=st.floats(-64, 64), rslora=st.booleans(), seed=st.integers(0, 99))
def test_a_tensor_is_base_plus_delta(
    rank: int, alpha: float, rslora: bool, seed: int, tmp_path_factory
) -> None:
    tensors = factors("layers.0.q_proj", rank, seed=seed)
    folder = save_adapter(
        tmp_path_factory.mktemp("adapter"), tensors, r=rank, lora_alpha=alpha, use_rslora=rslora
    )
    with opened(folder) as adapter:
        found = adapter.read("layers.0.q_proj.weight")
    scaling = alpha / (rank**0.5 if rslora else rank)
    expected = plain(BASE["layers.0.q_proj.weight"], *tensors.values(), scaling)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_base_in_half_precision_gets_a_delta_in_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    base = base_model(dtype)
    tensors = {name: 1e-4 * value for name, value in factors("layers.0.q_proj").items()}
    with opened(save_adapter(tmp_path / "adapter", tensors), base) as adapter:
        delta = adapter.read("layers.0.q_proj.weight") - base["layers.0.q_proj.weight"].float()
        assert adapter.tensors["layers.0.q_proj.weight"].dtype == torch.float32
    expected = plain(torch.zeros(6, 5), *tensors.values(), 4.0)
    assert torch.allclose(delta.double(), expected, atol=1e-6)


def test_everything_else_is_the_bases(tmp_path: Path) -> None:
    with opened(save_adapter(tmp_path / "adapter", factors("layers.0.q_proj"))) as adapter:
        assert adapter.adapted == ("layers.0.q_proj.weight",)
        assert list(adapter.tensors) == list(BASE)
        for name in BASE.keys() - set(adapter.adapted):
            assert torch.equal(adapter.read(name), BASE[name])
        base = InMemory(BASE)
        check_compatible(base, [adapter], [name for name in BASE if BASE[name].is_floating_point()])


def test_factors_are_given_out(tmp_path: Path) -> None:
    tensors = factors("layers.0.q_proj")
    with opened(save_adapter(tmp_path / "adapter", {k: v.half() for k, v in tensors.items()})) as adapter:
        found = adapter.factors("layers.0.q_proj.weight")
        assert found.a.dtype == found.b.dtype == torch.float32
        assert (tuple(found.a.shape), tuple(found.b.shape), found.scaling) == ((2, 5), (6, 2), 4.0)
        assert torch.equal(
            found.delta() + BASE["layers.0.q_proj.weight"], adapter.read("layers.0.q_proj.weight")
        )
        with pytest.raises(CheckpointError, match=r"'head\.weight' has no delta"):
            adapter.factors("head.weight")


def test_ranks_and_alphas_of_single_modules(tmp_path: Path) -> None:
    first, second = factors("layers.0.q_proj", 3), factors("layers.1.q_proj", 2, seed=9)
    folder = save_adapter(
        tmp_path / "adapter",
        {**first, **second},
        rank_pattern={"layers.0.q_proj": 3},
        alpha_pattern={"^layers.1.q_proj": 5},
    )
    with opened(folder) as adapter:
        for module, tensors, scaling in (
            ("layers.0.q_proj", first, 8 / 3),
            ("layers.1.q_proj", second, 5 / 2),
        ):
            expected = plain(BASE[f"{module}.weight"], *tensors.values(), scaling)
            assert torch.allclose(adapter.read(f"{module}.weight").double(), expected, atol=1e-5)


def test_a_base_that_stores_columns_as_rows(tmp_path: Path) -> None:
    base = {"q_proj.weight": BASE["layers.0.q_proj.weight"].T.contiguous()}
    tensors = factors("q_proj")
    with opened(save_adapter(tmp_path / "adapter", tensors, fan_in_fan_out=True), base) as adapter:
        expected = plain(base["q_proj.weight"].T, *tensors.values(), 4.0).T
        assert torch.allclose(adapter.read("q_proj.weight").double(), expected, atol=1e-5)


def test_modules_and_biases_that_are_held_whole(tmp_path: Path) -> None:
    whole = {
        f"{PREFIX}head.weight": torch.randn(3, 6),
        f"{PREFIX}head.modules_to_save.bias": torch.randn(3).half(),
        f"{PREFIX}layers.0.q_proj.bias": torch.randn(6),
    }
    folder = save_adapter(
        tmp_path / "adapter",
        {**factors("layers.0.q_proj"), **whole},
        modules_to_save=["head"],
        bias="lora_only",
    )
    with opened(folder) as adapter:
        assert adapter.replaced == ("layers.0.q_proj.bias", "head.weight", "head.bias")
        for name, value in zip(
            ("head.weight", "head.bias", "layers.0.q_proj.bias"), whole.values(), strict=True
        ):
            assert torch.equal(adapter.read(name), value)
            assert adapter.tensors[name].dtype == value.dtype


def test_the_digest_covers_weights_and_settings(tmp_path: Path) -> None:
    digests = set()
    for number, (seed, alpha) in enumerate([(1, 8), (1, 9), (2, 8)]):
        folder = save_adapter(tmp_path / str(number), factors("layers.0.q_proj", seed=seed), lora_alpha=alpha)
        with opened(folder) as adapter:
            assert set(adapter.sha256()) == {"adapter_model.safetensors", "adapter_config.json"}
            digests.add(adapter.digest())
    assert len(digests) == 3


def test_a_whole_model_is_opened_as_one(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "model", BASE)
    with open_contribution(folder, InMemory(BASE)) as found:
        assert isinstance(found, Checkpoint)
    save_adapter(folder, factors("layers.0.q_proj"))
    with pytest.raises(CheckpointError, match=r"holds an adapter and model\.safetensors too"):
        open_contribution(folder, InMemory(BASE))


def test_a_factor_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    tensors = factors("layers.0.q_proj")
    tensors[f"{PREFIX}layers.0.q_proj.{A}"][0, 0] = float("inf")
    with (
        opened(save_adapter(tmp_path / "adapter", tensors)) as adapter,
        pytest.raises(CheckpointError, match=r"lora_A\.weight' holds NaN"),
    ):
        adapter.view("layers.0.q_proj.weight")


GOOD = factors("layers.0.q_proj")
REFUSED: dict[str, tuple[Mapping[str, Tensor], dict[str, Any], str]] = {
    "DoRA": (GOOD, {"use_dora": True}, "adapter_config.json: use_dora: DoRA; not supported"),
    "DoRA in the weights": (
        {**GOOD, f"{PREFIX}layers.0.q_proj.lora_magnitude_vector": torch.ones(6)},
        {},
        "lora_magnitude_vector': DoRA is not supported",
    ),
    "embedding": (
        {f"{PREFIX}head.lora_embedding_A": torch.ones(2, 5)},
        {},
        "lora_embedding_A': LoRA of embeddings is not supported",
    ),
    "factor with a bias": (
        {**GOOD, f"{PREFIX}layers.0.q_proj.lora_B.bias": torch.ones(6)},
        {},
        "expected lora_A",
    ),
    "convolution": (
        {f"{PREFIX}conv.{A}": torch.ones(2, 3, 2, 2), f"{PREFIX}conv.{B}": torch.ones(4, 2, 1, 1)},
        {},
        r"module 'conv': only matrices.*\[2, 3, 2, 2\]",
    ),
    "biases promised": (
        GOOD,
        {"bias": "lora_only"},
        "no tensor 'layers.0.q_proj.bias', which bias 'lora_only'",
    ),
    "all biases promised": (GOOD, {"bias": "all"}, "no tensor 'layers.0.q_proj.bias', which bias 'all'"),
    "module promised": (
        GOOD,
        {"modules_to_save": ["head"]},
        "no tensor of 'head', which modules_to_save names",
    ),
    "another kind": (GOOD, {"peft_type": "IA3"}, "peft_type is 'IA3'; only 'LORA'"),
    "unknown setting": (GOOD, {"twist": 1}, "twist: a setting that is not known"),
    "a base that was changed": (
        GOOD,
        {"init_lora_weights": "pissa_niter_4"},
        "'pissa_niter_4' changes the base",
    ),
    "half a pair": (dict([next(iter(GOOD.items()))]), {}, "only one of lora_A and lora_B"),
    "another rank": (
        factors("layers.0.q_proj", 3),
        {},
        "factors of rank 3 and 3; adapter_config.json says 2",
    ),
    "ranks that differ": (
        {f"{PREFIX}head.{A}": torch.ones(2, 6), f"{PREFIX}head.{B}": torch.ones(3, 1)},
        {},
        "factors of rank 2 and 1",
    ),
    "no rank": (GOOD, {"r": 0}, "r: expected a whole number above 0"),
    "endless alpha": (GOOD, {"lora_alpha": float("inf")}, "lora_alpha: expected a number"),
    "another shape": (factors("layers.0.q_proj", shape=(5, 6)), {}, r"a delta of shape \[5, 6\], the base's"),
    "another model": (factors("layers.7.q_proj"), {}, "no tensor 'layers.7.q_proj.weight' in base"),
    "another prefix": (
        {"q_proj.lora_A.weight": torch.ones(2, 5)},
        {},
        "expected a name under 'base_model.model.'",
    ),
    "unknown tensor": ({**GOOD, f"{PREFIX}extra": torch.ones(1)}, {}, "no tensor 'extra' in base"),
    "whole and factors": (
        {**GOOD, f"{PREFIX}layers.0.q_proj.weight": torch.ones(6, 5)},
        {},
        "is held whole, and has factors too",
    ),
    "whole of another shape": (
        {f"{PREFIX}head.bias": torch.ones(4)},
        {},
        r"is torch.float32 \[4\], the base's",
    ),
    "an expression": (GOOD, {"rank_pattern": {"(a+)+$": 2}}, r"rank_pattern: '\(a\+\)\+\$' is no plain name"),
    "nothing": ({}, {}, "no tensor in it"),
}


@pytest.mark.parametrize(("tensors", "settings", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_plain_lora_is_refused_by_name(tensors, settings, message, tmp_path: Path) -> None:
    folder = save_adapter(tmp_path / "adapter", tensors, **settings)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_contribution(folder, InMemory(BASE, name="base"))
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT asks transformers by a former name
@pytest.mark.parametrize("rslora", [False, True])
def test_what_peft_saves_is_read_as_peft_merges_it(rslora: bool, tmp_path: Path) -> None:
    base = save_tiny_clip(tmp_path / "base")
    settings = LoraConfig(
        r=3,
        lora_alpha=5,
        use_rslora=rslora,
        target_modules=["q_proj", "fc1"],
        rank_pattern={"layers.0.mlp.fc1": 2},
        modules_to_save=["visual_projection"],
        init_lora_weights=False,
    )
    adapted = get_peft_model(CLIPModel.from_pretrained(base), settings)
    adapted.save_pretrained(str(tmp_path / "adapter"))
    merged = adapted.merge_and_unload().state_dict()
    with open_checkpoint(base) as origin, open_contribution(tmp_path / "adapter", origin) as found:
        assert isinstance(found, Adapter)
        for name in origin.tensors:
            torch.testing.assert_close(found.read(name), merged[name])
        assert any(".mlp.fc1." in name for name in found.adapted)
        assert found.replaced == ("visual_projection.weight",)
