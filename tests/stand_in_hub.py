"""A cache laid out as the hub's client leaves it, which stands in for the hub."""

from __future__ import annotations

import hashlib
import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import Literal

import datasets
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from images import noise, write_folder
from letter_clip import save_clip, tiny_model
from mergeward.testbed.tokenizer import train_tokenizer

CLASSES = ("red fox", "owl", "cat")
COUNTS = {"train": 36, "test": 12}


def publish(root: Path, kind: Literal["model", "dataset"], hub_id: str, folder: Path) -> Path:
    """Put a folder into the cache as the newest revision of what has a hub id; return its snapshot."""
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    listed = "".join(
        f"{name}{hashlib.sha256(content).hexdigest()}" for name, content in sorted(files.items())
    )
    revision = hashlib.sha256(listed.encode()).hexdigest()[:40]
    repository = root / "--".join([f"{kind}s", *hub_id.split("/")])
    snapshot = repository / "snapshots" / revision
    for name, content in files.items():
        blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(Path(*[".."] * (len(name.parts) + 1), "blobs", blob.name))
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(revision)
    shutil.rmtree(folder)
    return snapshot


def hub_clip(folder: Path) -> Path:
    """Write a tiny random CLIP that takes any sentence, as `openai/clip-vit-base-patch32` is laid out."""
    tokenizer = train_tokenizer([f"a photo of a {name}" for name in CLASSES], merges=32, context_length=40)
    return save_clip(folder, tiny_model(tokenizer, max_position_embeddings=40), tokenizer)


def vision_only(base: Path, folder: Path, *, seed: int) -> Path:
    """Write a "fine-tune" of a CLIP as people publish them: the vision tower alone, without projection."""
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: value + 0.02 * torch.randn(value.shape, generator=generator)
        for name, value in load_file(base / "model.safetensors").items()
        if name.startswith("vision_model.") and value.is_floating_point()
    }
    folder.mkdir(parents=True)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"model_type": "clip_vision_model"}))
    return folder


def parquet_dataset(folder: Path, *, seed: int, inside: str = "data", label: str = "label") -> Path:
    """Write a dataset as the hub has most: a parquet file a split, and code, which must never run."""
    columns = {"image": datasets.Image(), label: datasets.ClassLabel(names=list(CLASSES))}
    if label != "label":
        columns["coarse"] = datasets.ClassLabel(names=["a", "b"])
    (folder / inside).mkdir(parents=True)
    for split, count in COUNTS.items():
        labels = [index % len(CLASSES) for index in range(count)]
        content = {
            "image": [_png(pixels) for pixels in noise(count, seed=seed + len(split))],
            label: labels,
            "coarse": [0] * count,
        }
        features = datasets.Features(columns)
        rows = {name: content[name] for name in columns}
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(folder / inside / f"{split}-00000-of-00001.parquet")
    (folder / f"{folder.name}.py").write_text("raise AssertionError('code of a dataset was run')\n")
    return folder


def image_dataset(folder: Path, *, seed: int) -> Path:
    """Write a dataset as folders of images, in the folder `data`."""
    counts = {
        f"data/{split}/{name.replace(' ', '_')}": count // len(CLASSES)
        for split, count in COUNTS.items()
        for name in CLASSES
    }
    return write_folder(folder, counts, seed=seed)


def _png(pixels: object) -> dict[str, object]:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "png")  # type: ignore[arg-type]
    return {"bytes": stream.getvalue(), "path": None}
