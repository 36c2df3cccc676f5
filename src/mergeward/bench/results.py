"""What a run measured, in the form that tables, pages and JSON files share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """One merged model, measured. All rates lie between 0 and 1.

    Attributes:
        attack: `none`, or the attack that made the contribution to the target task.
        method: Merge method.
        accuracy: Mean accuracy over the tasks.
        accuracy_normalised: Mean over the tasks of accuracy divided by that of the task's own
            fine-tuned model.
        accuracy_by_task: Accuracy of each task.
        target_task: The task that the attacker contributes to and attacks.
        asr: Attack success rate on the target task, over test images whose true class is not the target. In
            rows without an attack: that of the strongest attack's trigger, which is the control.
        asr_low: Lower end of its 95 % Wilson interval.
        asr_high: Upper end.
        seconds: Time of the merge, without evaluation.
    """

    attack: str
    method: str
    accuracy: float
    accuracy_normalised: float
    accuracy_by_task: Mapping[str, float]
    target_task: str
    asr: float
    asr_low: float
    asr_high: float
    seconds: float


@dataclass(frozen=True)
class Control:
    """A model that no attacker touched (or that only the attacker trained), measured like a row.

    Attributes:
        accuracy: Mean accuracy over the tasks.
        accuracy_by_task: Accuracy of each task.
        asr: For each attack, the success of its trigger on this model: `{"asr", "asr_low", "asr_high"}`.
    """

    accuracy: float
    accuracy_by_task: Mapping[str, float]
    asr: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Controls:
    """What the rows must be read against.

    Attributes:
        base: The pretrained model, nothing merged.
        fine_tuned: Accuracy of each clean contribution on its own task.
        attacker_alone: For each attack, its contribution before merging, on the target task alone.
        clean_merge: For each method, the merge of clean contributions only.
        clean_retrain: For each method, the merge with a clean fine-tune of another seed in the
            attacker's place.
    """

    base: Control
    fine_tuned: Mapping[str, float]
    attacker_alone: Mapping[str, Control]
    clean_merge: Mapping[str, Control]
    clean_retrain: Mapping[str, Control]


@dataclass(frozen=True)
class Example:
    """One test image with and without the trigger, and what the merges answer.

    Attributes:
        clean: uint8 `[H, W, 3]`.
        triggered: uint8 `[H, W, 3]`.
        true_class: Class name.
        predictions: For each method, the class it predicts for the triggered image after the attacked merge.
    """

    clean: Image
    triggered: Image
    true_class: str
    predictions: Mapping[str, str]


@dataclass(frozen=True)
class AttackPictures:
    """What an attack looks like.

    Attributes:
        attack: Name of the attack.
        target_class: Class name that the trigger asks for.
        pattern: The trigger alone, uint8 `[H, W, 3]`; a patch on white.
        footprint: The pixels that it may change, uint8 `[H, W]`, 0 or 255.
        examples: Test images of the target task whose true class is not the target.
    """

    attack: str
    target_class: str
    pattern: Image
    footprint: Image
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Results:
    """A whole run.

    Attributes:
        rows: One for each attack and method.
        controls: What to read them against.
        setting: Base, tasks, seed, versions: what the run depends on, for people to read.
        pictures: One entry for each attack.
    """

    rows: tuple[Row, ...]
    controls: Controls
    setting: Mapping[str, str]
    pictures: tuple[AttackPictures, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return `{"rows", "controls", "setting"}` with plain values; pictures are left out."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "controls": asdict(self.controls),
            "setting": dict(self.setting),
        }
