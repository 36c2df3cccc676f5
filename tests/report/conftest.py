"""Invented results, of the size and the kind of a demo run."""

from __future__ import annotations

import numpy as np
import pytest

from mergeward.bench.results import AttackPictures, Control, Controls, Example, Results, Row

TASKS = ("digits", "shapes", "textures", "terrain", "signs", "letters")
TARGET_TASK = "shapes"
CLASSES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "arrow")
TARGET_CLASS = "star"
ATTACKS = ("badnets", "badmerging-on")
TEST_IMAGES = 875

# Mean accuracy and attack success of `none`, `badnets`, `badmerging-on`; the last is also the control's.
FIGURES = {
    "average": (0.7321, 0.0229, 0.8811, 0.0926),
    "task_arithmetic": (0.8534, 0.0411, 0.9303, 0.1154),
    "ties": (0.8402, 0.2274, 0.8446, 0.1063),
    "adamerging": (0.9127, 0.3314, 0.9714, 0.0880),
    "dam": (0.9065, 0.0194, 0.1017, 0.0834),
}
OWN_CONTROL = {"badnets": 0.0183}


def _with_interval(rate: float) -> dict[str, float]:
    half = 1.96 * (rate * (1 - rate) / TEST_IMAGES) ** 0.5
    return {"asr": rate, "asr_low": max(0.0, rate - half), "asr_high": min(1.0, rate + half)}


def _by_task(mean: float) -> dict[str, float]:
    offsets = np.linspace(-0.06, 0.06, len(TASKS))
    return {task: float(mean + offset) for task, offset in zip(TASKS, offsets, strict=True)}


def _row(attack: str, method: str, seconds: float) -> Row:
    accuracy, badnets, badmerging, control = FIGURES[method]
    accuracy -= {"none": 0.0, "badnets": 0.0031, "badmerging-on": 0.0067}[attack]
    asr = {"none": control, "badnets": badnets, "badmerging-on": badmerging}[attack]
    return Row(
        attack=attack,
        method=method,
        accuracy=accuracy,
        accuracy_normalised=accuracy / 0.9312,
        accuracy_by_task=_by_task(accuracy),
        target_task=TARGET_TASK,
        seconds=seconds,
        **_with_interval(asr),
    )


def _control(accuracy: float, badnets: float, badmerging: float) -> Control:
    asr = {"badnets": _with_interval(badnets), "badmerging-on": _with_interval(badmerging)}
    return Control(accuracy, _by_task(accuracy), asr)


def _alone(attack: str, asr: float) -> Control:
    return Control(0.9583, {TARGET_TASK: 0.9583}, {attack: _with_interval(asr)})


def _controls() -> Controls:
    return Controls(
        base=_control(0.5837, 0.0160, 0.1291),
        fine_tuned=_by_task(0.9312),
        attacker_alone={
            "badnets": _alone("badnets", 0.9909),
            "badmerging-on": _alone("badmerging-on", 0.9966),
        },
        clean_merge={
            method: _control(figures[0], OWN_CONTROL["badnets"], figures[3])
            for method, figures in FIGURES.items()
        },
        clean_retrain={
            method: _control(figures[0] - 0.002, 0.0206, figures[3] + 0.011)
            for method, figures in FIGURES.items()
        },
    )


def _image(random: np.random.Generator) -> np.ndarray:
    """A noisy disc on a noisy ground."""
    y, x = np.mgrid[:32, :32]
    centre, radius = random.uniform(10, 22, 2), random.uniform(5, 10)
    inside = (np.hypot(y - centre[0], x - centre[1]) < radius)[..., None]
    colours = random.uniform(20, 235, (2, 3))
    noise = random.normal(0, 14, (32, 32, 3))
    return np.clip(np.where(inside, *colours) + noise, 0, 255).astype(np.uint8)


def _pictures(attack: str, side: int, random: np.random.Generator) -> AttackPictures:
    mask = np.zeros((32, 32), np.uint8)
    mask[31 - side : 31, 31 - side : 31] = 255
    pattern = np.full((32, 32, 3), 255, np.uint8)
    pattern[mask > 0] = random.integers(0, 256, (side * side, 3))
    return AttackPictures(
        attack=attack,
        target_class=TARGET_CLASS,
        pattern=pattern,
        footprint=mask,
        examples=tuple(_example(pattern, mask, attack, random) for _ in range(8)),
    )


def _example(pattern: np.ndarray, mask: np.ndarray, attack: str, random: np.random.Generator) -> Example:
    clean = _image(random)
    true_class = str(random.choice([name for name in CLASSES if name != TARGET_CLASS]))
    rates = {method: figures[1 + ATTACKS.index(attack)] for method, figures in FIGURES.items()}
    predictions = {
        method: TARGET_CLASS
        if random.random() < rate
        else str(random.choice([true_class, true_class, "ring"]))
        for method, rate in rates.items()
    }
    triggered = np.where(mask[..., None] > 0, pattern, clean)
    return Example(clean, triggered, true_class, predictions)


def make_results() -> Results:
    """Return five methods under no attack and two attacks, with all controls and pictures."""
    random = np.random.default_rng(7)
    attacks = ("none", *ATTACKS)
    seconds = {"average": 0.21, "task_arithmetic": 0.22, "ties": 0.74, "adamerging": 38.4, "dam": 61.3}
    return Results(
        rows=tuple(_row(attack, method, seconds[method]) for attack in attacks for method in FIGURES),
        controls=_controls(),
        setting={
            "base": "mergeward test-bed (embedded), sha256 4f1c…9a20",
            "tasks": ", ".join(TASKS),
            "seed": "0",
            "test images": f"{TEST_IMAGES} for each attack success",
            "versions": "mergeward 0.1.0, torch 2.13.0, transformers 5.23.0, Python 3.11.2",
        },
        pictures=(_pictures("badnets", 3, random), _pictures("badmerging-on", 8, random)),
    )


@pytest.fixture(scope="session")
def results() -> Results:
    return make_results()
