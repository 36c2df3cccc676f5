"""What is written loads in transformers as any other model does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from mergeward.checkpoint import Piece, open_checkpoint, resolve_scope, write_checkpoint
from mergeward.provenance import Provenance

TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = CLIPConfig(
        text_config={
            **TOWER, "vocab_size": 64, "max_position_embeddings": 8,
            "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
        },
        vision_config={**TOWER, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("clip") / "base"
    CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16], ids=str)
def test_clip_loads_with_the_weights_and_type_written(
    clip_folder: Path, tmp_path: Path, dtype: torch.dtype | None
) -> None:
    with open_checkpoint(clip_folder) as like:
        changed = {name: (like.read(name) + 1).to(dtype or torch.float32) for name in like.tensors}
        record = Provenance(kind="merge", method="average")
        pieces = [Piece(name, 0, value) for name, value in changed.items()]
        write_checkpoint(
            tmp_path / "out", pieces, like=like, metadata=record.to_metadata(), card="", dtype=dtype
        )
    model, report = CLIPModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.dtype == (dtype or torch.float32)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in changed.items())


def test_the_scope_of_a_clip_is_its_vision_tower(clip_folder: Path) -> None:
    with open_checkpoint(clip_folder) as checkpoint:
        names = resolve_scope("auto", checkpoint)
    assert "visual_projection.weight" in names
    assert all(name.startswith(("vision_model.", "visual_projection.")) for name in names)
