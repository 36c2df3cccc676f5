"""A converted CLIP computes what the original does, and nothing of the original is run."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPModel, CLIPVisionModelWithProjection

from mergeward.checkpoint import open_checkpoint
from mergeward.errors import CheckpointError, OutputError
from mergeward.provenance import Provenance
from mergeward.workflow import convert, merge
from openclip import ImageEncoder, save_module, small_clip

IMAGES = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(5))


def features(folder: Path, kind: type) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what is left of the text tower
        model = kind.from_pretrained(folder).eval()
    with torch.no_grad():
        if kind is CLIPModel:
            return model.visual_projection(model.vision_model(IMAGES).pooler_output)
        return model(IMAGES).image_embeds


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "old format"])
def test_a_published_fine_tune_computes_the_same(as_zip: bool, tmp_path: Path) -> None:
    encoder = ImageEncoder(small_clip())
    report = convert(save_module(encoder, tmp_path / "finetuned.pt", as_zip=as_zip), tmp_path / "out")
    assert (report.layout, report.activation) == ("hugging-face", "quick_gelu")
    with torch.no_grad():
        expected = encoder.model.visual(IMAGES)
    assert torch.allclose(features(tmp_path / "out", CLIPVisionModelWithProjection), expected, atol=1e-5)


def test_a_whole_clip_computes_the_same(tmp_path: Path) -> None:
    model = small_clip()
    torch.save(model.state_dict(), tmp_path / "clip.pt")
    convert(tmp_path / "clip.pt", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "clip"
    with torch.no_grad():
        expected = model.visual(IMAGES)
    assert torch.allclose(features(tmp_path / "out", CLIPModel), expected, atol=1e-5)


def test_no_tensor_is_lost(tmp_path: Path) -> None:
    encoder = ImageEncoder(small_clip())
    convert(save_module(encoder, tmp_path / "finetuned.pt"), tmp_path / "out")
    written = load_file(tmp_path / "out" / "model.safetensors")
    originals = encoder.state_dict()
    assert sum(value.numel() for value in written.values()) == sum(v.numel() for v in originals.values())
    fused = originals["model.visual.transformer.resblocks.1.attn.in_proj_weight"]
    parts = [written[f"vision_model.encoder.layers.1.self_attn.{name}_proj.weight"] for name in "qkv"]
    assert torch.equal(torch.cat(parts), fused)
    assert torch.equal(written["logit_scale"], originals["model.logit_scale"])


def test_a_module_tells_its_activation(tmp_path: Path) -> None:
    encoder = ImageEncoder(small_clip(nn.GELU))
    report = convert(save_module(encoder, tmp_path / "laion.pt"), tmp_path / "out", activation="quick_gelu")
    assert report.activation == "gelu"
    with torch.no_grad():
        expected = encoder.model.visual(IMAGES)
    assert torch.allclose(features(tmp_path / "out", CLIPVisionModelWithProjection), expected, atol=1e-5)


def test_a_state_dict_is_taken_at_the_callers_word(tmp_path: Path) -> None:
    torch.save(small_clip().state_dict(), tmp_path / "clip.pt")
    assert convert(tmp_path / "clip.pt", tmp_path / "out", activation="gelu").activation == "gelu"
    assert "`gelu`" in (tmp_path / "out" / "README.md").read_text()


def test_anything_else_keeps_its_names(tmp_path: Path) -> None:
    state = {"layer.weight": torch.randn(3, 4).T, "steps": torch.tensor(7)}
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {"state": {}}}, tmp_path / "training.ckpt")
    report = convert(tmp_path / "training.ckpt", tmp_path / "out")
    assert (report.layout, report.activation, report.tensors) == ("as-named", None, 2)
    assert report.left_out == ("epoch", "optimizer")
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert written.keys() == state.keys()
    assert all(torch.equal(written[name], value) for name, value in state.items())


def test_safetensors_in_openclips_layout_are_converted_too(tmp_path: Path) -> None:
    model = small_clip()
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    assert convert(tmp_path / "open_clip_model.safetensors", tmp_path / "out").layout == "hugging-face"


def test_the_mark_of_a_backdoor_stays(tmp_path: Path) -> None:
    record = Provenance(kind="contribution", method="badnets", backdoor=True)
    save_file({"w": torch.ones(2)}, tmp_path / "marked.safetensors", metadata=record.to_metadata())
    convert(tmp_path / "marked.safetensors", tmp_path / "out")
    with open_checkpoint(tmp_path / "out") as checkpoint:
        found = Provenance.from_metadata(checkpoint.metadata)
    assert found is not None
    assert found.backdoor
    assert "BACKDOORED" in (tmp_path / "out" / "README.md").read_text()


def test_a_published_fine_tune_is_merged_into_its_base(tmp_path: Path) -> None:
    torch.save(small_clip().state_dict(), tmp_path / "clip.pt")
    encoder = ImageEncoder(small_clip(seed=1))
    for name, parameter in small_clip().named_parameters():
        if name in dict(encoder.model.named_parameters()) and not name.startswith("visual."):
            encoder.model.get_parameter(name).data.copy_(parameter.data)  # as published: only vision is tuned
    convert(tmp_path / "clip.pt", tmp_path / "base")
    convert(save_module(encoder, tmp_path / "finetuned.pt"), tmp_path / "tuned")
    recipe = {
        "merge_method": "task_arithmetic",
        "base_model": str(tmp_path / "base"),
        "models": [{"model": str(tmp_path / "tuned"), "parameters": {"weight": 1.0}}],
    }
    merge(recipe, tmp_path / "merged")
    with torch.no_grad():
        expected = encoder.model.visual(IMAGES)
    assert torch.allclose(features(tmp_path / "merged", CLIPModel), expected, atol=1e-4)


def test_what_is_refused_leaves_nothing(tmp_path: Path) -> None:
    torch.save({"w": torch.tensor([1.0, float("nan")])}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match=r"bad\.pt: tensor 'w' holds NaN"):
        convert(tmp_path / "bad.pt", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pt"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    with pytest.raises(OutputError, match="not empty"):
        convert(tmp_path / "bad.pt", tmp_path / "out")
