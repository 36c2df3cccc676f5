"""Six tasks that need no download: scikit-learn's digits, and five that the package draws."""

from __future__ import annotations

import numpy as np

from mergeward.errors import unknown_name
from mergeward.images import ArrayImages
from mergeward.seeding import numpy_generator
from mergeward.tasks.embedded import digits, letters, shapes, signs, terrain, textures
from mergeward.tasks.embedded.scene import Drawing
from mergeward.tasks.task import SPLIT_NAMES, Split, SplitName, Task

__all__ = ["EMBEDDED", "load_embedded", "load_plain"]

EMBEDDED: dict[str, Drawing] = {
    module.DRAWING.name: module.DRAWING for module in (digits, shapes, textures, terrain, signs, letters)
}
SPLIT_SIZES: dict[SplitName, int] = {"train": 2000, "adapt": 300, "validation": 300, "test": 500}
PLAIN_SIZE = 3000


def load_embedded(name: str, *, seed: int = 0) -> Task:
    """Draw one of the embedded tasks.

    Args:
        name: `digits`, `shapes`, `textures`, `terrain`, `signs` or `letters`.
        seed: Seed of every picture.

    Returns:
        A task of ten classes with 2,000 / 300 / 300 / 500 images of 32x32 in train / adapt / validation / test.

    Raises:
        UsageError: There is no embedded task of that name.
    """
    drawing = _drawing(name)
    splits = {split: _draw_split(drawing, split, SPLIT_SIZES[split], seed) for split in SPLIT_NAMES}
    return _task(drawing, splits)


def load_plain(name: str, *, seed: int = 0) -> Task:
    """Draw an embedded task's classes in plainer pictures, for pretraining: less clutter, turn and noise.

    The pictures are other draws than those of `load_embedded` (for digits: of other originals). All are in
    the train split.
    """
    drawing = _drawing(name)
    train = _draw_split(drawing, "pretrain", PLAIN_SIZE, seed)
    empty = Split(ArrayImages(np.zeros((0, 32, 32, 3), np.uint8)), np.zeros(0, np.int64))
    splits: dict[SplitName, Split] = {"train": train, "adapt": empty, "validation": empty, "test": empty}
    return _task(drawing, splits)


def _drawing(name: str) -> Drawing:
    if name not in EMBEDDED:
        raise unknown_name("embedded task", name, EMBEDDED)
    return EMBEDDED[name]


def _draw_split(drawing: Drawing, purpose: str, count: int, seed: int) -> Split:
    labels = np.arange(count, dtype=np.int64) % len(drawing.class_names)
    pictures = []
    for index, label in enumerate(labels):
        random = numpy_generator(seed, "embedded", drawing.name, purpose, index)
        nuisance = random.uniform(0.0, 0.7) if purpose == "pretrain" else 1.0
        pictures.append(drawing.draw(int(label), random, nuisance, purpose))
    return Split(ArrayImages(np.stack(pictures)), labels)


def _task(drawing: Drawing, splits: dict[SplitName, Split]) -> Task:
    return Task(
        name=drawing.name,
        class_names=drawing.class_names,
        splits=splits,
        templates=drawing.templates,
        summary=drawing.summary,
        licence="CC BY 4.0" if drawing.name == "digits" else "Apache-2.0",
    )
