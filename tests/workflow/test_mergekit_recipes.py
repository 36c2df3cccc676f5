"""Recipes in the forms that mergekit publishes: those of our methods run as they are, others are read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import mergeward as mw
from mergeward.merge.mergekit import ALIASES
from mergeward.merge.registry import METHODS
from mergeward.recipe import load_recipe
from mergeward.workflow.job import checked_method

LINEAR = """
models:
  - model: warm
    parameters:
      weight: 1.0
  - model: cold
    parameters:
      weight: 0.3
merge_method: linear
dtype: float16
"""
LINEAR_GRADIENT = """
models:
  - model: base
    parameters:
      weight: 0.5
  - model: warm
    parameters:
      weight: [0, 0.2, 0.8]
merge_method: linear
base_model: base
parameters:
  normalize: true
dtype: float32
"""
TASK_ARITHMETIC = """
base_model: base
dtype: bfloat16
merge_method: task_arithmetic
parameters:
  lambda: 0.5
  normalize: false
slices:
- sources:
  - layer_range: [0, 2]
    model: warm
    parameters:
      weight: 0.4
  - layer_range: [0, 2]
    model: base
  - layer_range: [0, 2]
    model: cold
    parameters:
      weight:
      - filter: self_attn
        value: [0.2, 0.6]
      - filter: mlp
        value: 0.8
      - value: 0.5
tokenizer_source: base
"""
TASK_ARITHMETIC_SLICES = """
slices:
  - sources:
      - model: warm
        layer_range: [0, 1]
        parameters:
          weight: 0.2
      - model: cold
        layer_range: [0, 1]
        parameters:
          weight: 0.7
  - sources:
      - model: warm
        layer_range: [1, 2]
        parameters:
          weight: 0.9
      - model: cold
        layer_range: [1, 2]
        parameters:
          weight: 0.0
merge_method: task_arithmetic
base_model: base
dtype: float32
out_dtype: bfloat16
"""
TIES = """
models:
  - model: base
    # no parameters necessary for base model
  - model: warm
    parameters:
      density: 0.5
      weight: 0.5
  - model: cold
    parameters:
      density: 0.5
      weight: 0.3
merge_method: ties
base_model: base
parameters:
  normalize: true
  int8_mask: true
dtype: float16
"""
TIES_LAYERED = """
models:
  - model: warm
    parameters:
      density: 0.8
      weight: [1.0, 0.8, 0.5]
  - model: cold
    parameters:
      density: 0.33
      weight:
        - filter: mlp
          value: 0.5
        - value: 0
merge_method: ties
base_model: base
parameters:
dtype: bfloat16
"""
DARE_TIES = """
models:
  - model: base
  - model: warm
    parameters:
      density: 0.53
      weight: 0.4
  - model: cold
    parameters:
      density: 0.53
      weight: 0.3
merge_method: dare_ties
base_model: base
parameters:
  int8_mask: true
dtype: bfloat16
"""
DARE_LINEAR = DARE_TIES.replace("dare_ties", "dare_linear")
BREADCRUMBS = """
models:
  - model: warm
    parameters:
      weight: 0.5
      density: 0.9
      gamma: 0.01
  - model: cold
    parameters:
      weight: 0.5
      density: [0.6, 0.9]
merge_method: breadcrumbs
base_model: base
dtype: float16
"""
BREADCRUMBS_TIES = BREADCRUMBS.replace("breadcrumbs", "breadcrumbs_ties")
DELLA = """
models:
  - model: warm
    parameters:
      density: 0.5
      weight: 0.5
      epsilon: 0.1
  - model: cold
    parameters:
      density: 0.5
      weight: 0.5
merge_method: della
base_model: base
parameters:
  lambda: 1
dtype: bfloat16
"""
DELLA_LINEAR = DELLA.replace("della", "della_linear")
SLERP = """
slices:
  - sources:
      - model: warm
        layer_range: [0, 2]
      - model: cold
        layer_range: [0, 2]
merge_method: slerp
base_model: warm
parameters:
  t:
    - filter: self_attn
      value: [0, 0.5, 0.3, 0.7, 1]
    - filter: mlp
      value: [1, 0.5, 0.7, 0.3, 0]
    - value: 0.5 # fallback for rest of tensors
dtype: bfloat16
"""
MODEL_STOCK = """
models:
  - model: base
  - model: warm
  - model: cold
base_model: base
merge_method: model_stock
dtype: bfloat16
"""
NUSLERP = """
models:
  - model: warm
    parameters:
      weight: 0.5
  - model: cold
    parameters:
      weight: [0.2, 0.8]
base_model: base
merge_method: nuslerp
parameters:
  nuslerp_flatten: true
dtype: bfloat16
"""
MULTISLERP = NUSLERP.replace("nuslerp_flatten: true", "normalize_weights: true").replace(
    "nuslerp", "multislerp"
)
KARCHER = """
models:
  - model: warm
  - model: cold
merge_method: karcher
parameters:
  max_iter: 10
  tol: 1e-5
dtype: bfloat16
tokenizer_source: base
"""
TIES_GRADIENT = """
models:
  - model: warm
    parameters:
      density: [1, 0.7, 0.1] # density gradient
      weight: 1.0
  - model: cold
    parameters:
      density: 0.33
      weight:
        - filter: mlp
          value: 0.5
        - value: 0
merge_method: ties
base_model: base
parameters:
  normalize: true
  int8_mask: true
dtype: float16
"""
PUBLISHED = {
    "linear": LINEAR,
    "linear, gradient": LINEAR_GRADIENT,
    "task_arithmetic": TASK_ARITHMETIC,
    "task_arithmetic, slices": TASK_ARITHMETIC_SLICES,
    "ties": TIES,
    "ties, layered": TIES_LAYERED,
    "dare_ties": DARE_TIES,
    "dare_linear": DARE_LINEAR,
    "breadcrumbs": BREADCRUMBS,
    "breadcrumbs_ties": BREADCRUMBS_TIES,
    "della": DELLA,
    "della_linear": DELLA_LINEAR,
    "slerp": SLERP,
    "model_stock": MODEL_STOCK,
    "nuslerp": NUSLERP,
    "multislerp": MULTISLERP,
    "karcher": KARCHER,
    "ties, gradient": TIES_GRADIENT,
}


def ours(title: str) -> bool:
    """Whether the method of a recipe is in the registry."""
    name = title.split(",", maxsplit=1)[0]
    return ALIASES.get(name, name) in METHODS


@pytest.fixture
def beside(pool: Any, tmp_path: Path) -> Path:
    """A folder with the base and the contributions, to be named by relative paths."""
    for name, folder in {"base": pool.base, "warm": pool.clean, "cold": pool.other}.items():
        shutil.copytree(folder, tmp_path / "models" / name)
    return tmp_path / "models"


def run(text: str, beside: Path, out: Path) -> dict[str, torch.Tensor]:
    (beside / "recipe.yaml").write_text(text, encoding="utf-8")
    return load_file(mw.merge(beside / "recipe.yaml", out).out / "model.safetensors")


@pytest.mark.parametrize("title", PUBLISHED)
def test_they_are_read(title: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(PUBLISHED[title], encoding="utf-8")
    recipe = load_recipe(path)
    assert recipe.merge_method == title.split(",", maxsplit=1)[0]
    assert recipe.torch_dtype is not None
    if ours(title):
        checked_method(recipe)


@pytest.mark.parametrize("title", [title for title in PUBLISHED if ours(title)])
def test_they_run(title: str, beside: Path, tmp_path: Path) -> None:
    state = run(PUBLISHED[title], beside, tmp_path / "out")
    base = load_file(beside / "base" / "model.safetensors")
    changed = {name for name, value in state.items() if not torch.equal(value.float(), base[name].float())}
    assert {name.split(".")[0] for name in changed} >= {"vision_model", "visual_projection"}


def task_vectors(beside: Path) -> tuple[dict[str, torch.Tensor], ...]:
    base, warm, cold = (
        {name: value.double() for name, value in load_file(beside / one / "model.safetensors").items()}
        for one in ("base", "warm", "cold")
    )
    return base, *({name: one[name] - value for name, value in base.items()} for one in (warm, cold))


LAYER = "vision_model.encoder.layers.{}.{}.weight"
CASES = {
    LAYER.format(0, "self_attn.q_proj"): (0.4, 0.2),
    LAYER.format(1, "self_attn.q_proj"): (0.4, 0.6),
    LAYER.format(0, "mlp.fc1"): (0.4, 0.8),
    LAYER.format(1, "layer_norm1"): (0.4, 0.5),
    "visual_projection.weight": (0.4, 0.5),
}


@pytest.mark.parametrize("name", CASES)
def test_filters_and_lists_give_each_tensor_its_weight(name: str, beside: Path, tmp_path: Path) -> None:
    state = run(TASK_ARITHMETIC, beside, tmp_path / "out")
    base, warm, cold = task_vectors(beside)
    first, second = CASES[name]
    expected = base[name] + 0.5 * (first * warm[name] + second * cold[name])
    torch.testing.assert_close(state[name].double(), expected, rtol=1e-2, atol=1e-3)


def test_slices_give_each_layer_its_weight(beside: Path, tmp_path: Path) -> None:
    state = run(TASK_ARITHMETIC_SLICES, beside, tmp_path / "out")
    base, warm, cold = task_vectors(beside)
    weights = {
        "vision_model.embeddings.patch_embedding.weight": (0.2, 0.7),
        LAYER.format(0, "mlp.fc1"): (0.2, 0.7),
        LAYER.format(1, "mlp.fc1"): (0.9, 0.0),
        "visual_projection.weight": (0.9, 0.0),
    }
    for name, (first, second) in weights.items():
        expected = base[name] + first * warm[name] + second * cold[name]
        torch.testing.assert_close(state[name].double(), expected, rtol=1e-2, atol=1e-3)


def test_a_base_in_a_linear_merge_is_one_of_the_models(beside: Path, tmp_path: Path) -> None:
    state = run(LINEAR_GRADIENT, beside, tmp_path / "out")
    base, warm, _ = task_vectors(beside)
    shares = {
        "vision_model.embeddings.class_embedding": 0.0,
        LAYER.format(0, "mlp.fc1"): 0.0,
        LAYER.format(1, "mlp.fc1"): 0.8 / 1.3,
        "visual_projection.weight": 0.8 / 1.3,
    }
    for name, share in shares.items():
        torch.testing.assert_close(
            state[name].double(), base[name] + share * warm[name], rtol=1e-5, atol=1e-6
        )
