"""How far DAM's losses on the embedded CLIP move when it computes, or keeps task vectors, in fewer bits."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.rows import table
from mergeward.train import FinetuneConfig
from mergeward.workflow import finetune, merge

BASE = "embedded"
TASKS = ("digits", "letters", "shapes", "signs", "terrain", "textures")
TRAINING = FinetuneConfig(steps=100)
STEPS = 20
EXACT = "float32"
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    EXACT: {},
    "bfloat16": {"precision": "bfloat16"},
    "task vectors bfloat16": {"task_vectors": "bfloat16"},
    "task vectors int8": {"task_vectors": "int8"},
    "bfloat16, task vectors int8": {"precision": "bfloat16", "task_vectors": "int8"},
}


def measure(cache: Path, *, quick: bool = False) -> list[dict[str, Any]]:
    """Merge fine-tunes of the embedded CLIP by DAM in every setting.

    Args:
        cache: Folder for the fine-tunes, which are made once.
        quick: Whether two tasks and two steps are enough.

    Returns:
        For each setting its `setting`, `total` (L_perf + alpha L_safe at each step) and `deviation` (the
        largest of |total - float32's total| / float32's total over the steps).
    """
    tasks, steps = (TASKS[:2], 2) if quick else (TASKS, STEPS)
    models = [{"model": str(_tuned(task, cache, quick=quick)), "task": task} for task in tasks]
    totals = {name: _total(models, {**own, "steps": steps}) for name, own in SETTINGS.items()}
    exact = totals[EXACT]
    return [
        {
            "setting": name,
            "total": total,
            "deviation": max(abs(one - other) / other for one, other in zip(total, exact, strict=True)),
        }
        for name, total in totals.items()
    ]


def markdown(curves: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table of how far each curve is from that in float32."""
    if not curves:
        return ""
    steps = len(curves[0]["total"])
    heads = ("setting", "loss at the first step", f"loss at step {steps}", "largest deviation from float32")
    lines = [
        (
            one["setting"],
            f"{one['total'][0]:.4f}",
            f"{one['total'][-1]:.4f}",
            f"{100 * one['deviation']:.2f} %",
        )
        for one in curves
    ]
    return table(heads, lines, left=(0,))


def _tuned(task: str, cache: Path, *, quick: bool) -> Path:
    training = FinetuneConfig(steps=2, batch_size=8) if quick else TRAINING
    out = cache / "fine-tunes" / f"{task}-{training.steps}"
    return out if out.exists() else finetune(BASE, task, out, training=training)


def _total(models: Sequence[Mapping[str, str]], parameters: Mapping[str, Any]) -> list[float]:
    recipe = {
        "merge_method": "dam",
        "base_model": BASE,
        "models": list(models),
        "parameters": {**parameters, "coefficient_steps": 0},
    }
    with tempfile.TemporaryDirectory() as folder:
        record = merge(recipe, Path(folder) / "merged").record
    alpha = float(parameters.get("alpha", 0.1))
    losses = record["loss"]
    pairs = zip(losses["performance"], losses["safety"], strict=True)
    return [performance + alpha * safety for performance, safety in pairs]
