"""Models by their hub id, from a cache that stands in for the hub."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
import torch

from mergeward.checkpoint import local_path, open_checkpoint
from mergeward.errors import CheckpointError
from stand_in_hub import publish
from toy_models import base_state, save_folder


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds the model `somebody/model`, laid out as the hub's client does."""
    root = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(root))
    plain = save_folder(tmp_path / "plain", base_state(), shards=2, config={"model_type": "toy"})
    publish(root, "model", "somebody/model", plain)
    return root


def test_a_cached_model_is_opened_by_its_id(hub_cache: Path) -> None:
    with open_checkpoint("somebody/model") as checkpoint:
        assert checkpoint.config == {"model_type": "toy"}
        assert torch.equal(checkpoint.read("embed.weight"), base_state()["embed.weight"])


def test_links_in_the_cache_lead_to_blobs_of_the_same_model_only(hub_cache: Path) -> None:
    (snapshot,) = (hub_cache / "models--somebody--model" / "snapshots").iterdir()
    other = hub_cache / "models--somebody--other" / "blobs"
    other.mkdir(parents=True)
    (snapshot / "config.json").resolve().rename(other / "hash")
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(other / "hash")
    with pytest.raises(CheckpointError, match=r"config\.json: a link out of its folder"):
        open_checkpoint("somebody/model")


def test_blobs_that_are_a_link_elsewhere_are_refused(hub_cache: Path, tmp_path: Path) -> None:
    model = hub_cache / "models--somebody--model"
    (model / "blobs").rename(tmp_path / "elsewhere")
    (model / "blobs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="a link out of its folder"):
        open_checkpoint("somebody/model")


def test_a_model_that_is_nowhere_is_refused_by_name(hub_cache: Path) -> None:
    with pytest.raises(
        CheckpointError, match="somebody/nothing: no such file or folder, and the hub"
    ) as caught:
        open_checkpoint("somebody/nothing")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nothing", "./some/model", "/some/model", "a/b/c", "../model", "a b/c"])
def test_what_is_no_hub_id_is_looked_for_on_disk_only(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    with pytest.raises(CheckpointError, match=r"no such file or folder$"):
        local_path(name)


def test_a_mistyped_path_is_no_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    (tmp_path / "contributions").mkdir()
    with pytest.raises(CheckpointError, match="contributions/digts: not in the folder contributions"):
        local_path("contributions/digts")


def test_what_is_on_disk_comes_before_the_hub(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    save_folder(tmp_path / "somebody" / "model", base_state())
    assert local_path("somebody/model") == Path("somebody/model")


def test_only_harmless_files_of_the_top_folder_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def download(name: str, **options: object) -> str:
        asked.update(options, name=name)
        return "somewhere"

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert local_path("somebody/model") == Path("somewhere")
    assert asked == {
        "name": "somebody/model",
        "allow_patterns": ["*.safetensors", "*.json", "*.txt"],
        "ignore_patterns": ["*/*"],
    }
