"""Six tasks that need no download: scikit-learn's digits, and five that the package draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL
from safetensors.numpy import load_file, save_file

from mergeward.cache import artefact
from mergeward.errors import unknown_name
from mergeward.images import ArrayImages, Pixels
from mergeward.output import system_errors
from mergeward.progress import track
from mergeward.seeding import numpy_generator
from mergeward.tasks.embedded import digits, letters, shapes, signs, terrain, textures
from mergeward.tasks.embedded.scene import Drawing
from mergeward.tasks.task import SPLIT_NAMES, Labels, Split, SplitName, Task

__all__ = ["EMBEDDED", "load_embedded", "load_plain"]

EMBEDDED: dict[str, Drawing] = {
    module.DRAWING.name: module.DRAWING for module in (digits, signs, terrain, shapes, letters, textures)
}
SPLIT_SIZES: dict[SplitName, int] = {"train": 2000, "adapt": 300, "validation": 300, "test": 500}
PLAIN_SIZE = 3000
DRAWING_VERSION = 5
"""To be raised with every change of what is drawn: pictures are cached under it."""


def load_embedded(name: str, *, seed: int = 0) -> Task:
    """Draw one of the embedded tasks, or take its pictures from the cache.

    Args:
        name: `digits`, `shapes`, `textures`, `terrain`, `signs` or `letters`.
        seed: Seed of every picture.

    Returns:
        A task of ten classes, with 2,000 / 300 / 300 / 500 images of 32x32 in train / adapt / validation /
        test.

    Raises:
        UsageError: There is no embedded task of that name.
    """
    drawing = _drawing(name)
    splits = {split: _split(drawing, split, SPLIT_SIZES[split], seed) for split in SPLIT_NAMES}
    return _task(drawing, splits)


def load_plain(name: str, *, seed: int = 0) -> Task:
    """Draw an embedded task's classes in plainer pictures, for pretraining: less clutter, turn and noise.

    The pictures are other draws than those of `load_embedded` (for digits: of other originals). All are in
    the train split.
    """
    drawing = _drawing(name)
    train = _split(drawing, "pretrain", PLAIN_SIZE, seed)
    empty = Split(ArrayImages(np.zeros((0, 32, 32, 3), np.uint8)), np.zeros(0, np.int64))
    splits: dict[SplitName, Split] = {"train": train, "adapt": empty, "validation": empty, "test": empty}
    return _task(drawing, splits)


def _drawing(name: str) -> Drawing:
    if name not in EMBEDDED:
        raise unknown_name("embedded task", name, EMBEDDED)
    return EMBEDDED[name]


def _split(drawing: Drawing, purpose: str, count: int, seed: int) -> Split:
    labels = np.arange(count, dtype=np.int64) % len(drawing.class_names)
    configuration = {
        "task": drawing.name,
        "purpose": purpose,
        "count": count,
        "seed": seed,
        "drawing": DRAWING_VERSION,
        # Their versions may differ in random streams, filters and glyphs.
        "numpy": np.__version__,
        "pillow": PIL.__version__,
    }

    def make(folder: Path) -> None:
        pixels = _draw(drawing, purpose, labels, seed)
        with system_errors():
            save_file({"pixels": pixels}, folder / "pixels.safetensors")

    pixels = load_file(artefact("drawings", configuration, make) / "pixels.safetensors")["pixels"]
    return Split(ArrayImages(pixels), labels)


def _draw(drawing: Drawing, purpose: str, labels: Labels, seed: int) -> Pixels:
    pictures = []
    for index in track(range(len(labels)), f"draw {drawing.name}"):
        random = numpy_generator(seed, "embedded", drawing.name, purpose, index)
        nuisance = random.uniform(0.0, 0.7) if purpose == "pretrain" else drawing.nuisance
        pictures.append(drawing.draw(int(labels[index]), random, nuisance, purpose))
    return np.stack(pictures)


def _task(drawing: Drawing, splits: dict[SplitName, Split]) -> Task:
    return Task(
        name=drawing.name,
        class_names=drawing.class_names,
        splits=splits,
        templates=drawing.templates,
        summary=drawing.summary,
        licence="CC BY 4.0" if drawing.name == "digits" else "Apache-2.0",
    )
