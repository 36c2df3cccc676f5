"""Adaptive merges, of those that learn the first steps, against FusionBench 0.2.33, by what its classes made.

`benchmarks/peers/drivers/record_learning.py` wrote `fusion_bench_learning.json` from the same inputs, with
masks drawn, and surgery started, from a generator of the same seed.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mergeward.defense.awm import AwmParameters
from mergeward.defense.problem import HardenProblem
from mergeward.defense.sau import SauParameters, adversary
from mergeward.defense.session import as_merge
from mergeward.merge.adaptive import (
    AdaptiveProblem,
    UnlabelledTask,
    fisher,
    mask_learning,
    regmean,
    surgery,
)
from mergeward.merge.adaptive.adamerging import AdaMergingParameters, fit_coefficients
from mergeward.merge.adaptive.concrete import ConcreteAdaMergingParameters, ConcreteTaskArithmeticParameters
from mergeward.merge.adaptive.dam import DamParameters
from mergeward.merge.adaptive.mask_learning import MaskLearner, merge_with_masks
from mergeward.merge.adaptive.session import Session
from mergeward.merge.adaptive.surgery import SurgeryParameters, operate

TASKS = ("warm", "cold")
IMAGES, SIDE, CELL = 4, 224, 56
WIDTH, FEATURES, CLASSES = 8, 5, 3
MEAN, STD = (0.5, 0.4, 0.45), (0.25, 0.3, 0.2)
STEPS, SURGERY_STEPS, NOISE_SEED = 4, 40, 7
STATISTICS_BATCH, OFF_DIAGONAL = 2, 0.8

COMMON = {"steps": STEPS, "batch_size": IMAGES}
MASKS = {**COMMON, "mask_lr": 0.05, "temperature": 0.5}
COEFFICIENTS = {**MASKS, "coefficient_steps": STEPS, "coefficient_lr": 0.02, "variant": "released"}
PLANS = {
    "concrete_task_arithmetic": ConcreteTaskArithmeticParameters(**MASKS, final_mask="sample").plan,
    "concrete_adamerging-task": ConcreteAdaMergingParameters(**COEFFICIENTS, granularity="task").plan,
    "concrete_adamerging-layer": ConcreteAdaMergingParameters(**COEFFICIENTS).plan,
    "dam-task": DamParameters(**COEFFICIENTS, granularity="task", adv_lr=0.3, alpha=0.7).plan,
}
TOLERANCE = {"rtol": 1e-4, "atol": 2e-5}
"""The peer keeps coefficients in float32 and adds 1e-8 within the logarithm of its entropies."""
SHARED_TOLERANCE = {"rtol": 0, "atol": 2e-4}
"""That of SAU, in whose loss on shared examples the peer adds 1e-6 within the logarithms."""


class Encoder(nn.Module):
    """Mean colours of a 4 x 4 grid, and two layers."""

    def __init__(self, weights):
        super().__init__()
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self.first = nn.Linear(3 * (SIDE // CELL) ** 2, WIDTH)
        self.second = nn.Linear(WIDTH, FEATURES)
        self.load_state_dict(weights)

    def forward(self, pixels):
        normalised = (pixels - self.mean) / self.std
        hidden = F.gelu(self.first(F.avg_pool2d(normalised, CELL).flatten(1)))
        return F.normalize(self.second(hidden), dim=-1)


@pytest.fixture(scope="module")
def recorded():
    return json.loads(Path(__file__).with_name("fusion_bench_learning.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def problem():
    generator = np.random.default_rng(0)
    shapes = {
        "first.weight": (WIDTH, 3 * (SIDE // CELL) ** 2),
        "first.bias": (WIDTH,),
        "second.weight": (FEATURES, WIDTH),
        "second.bias": (FEATURES,),
    }

    def drawn(scale):
        return {
            name: torch.from_numpy(scale * generator.standard_normal(one)) for name, one in shapes.items()
        }

    base = drawn(0.5)
    models = [{name: base[name] + move for name, move in drawn(0.4).items()} for _ in TASKS]
    images = [generator.integers(0, 256, (IMAGES, 3, SIDE, SIDE), dtype=np.uint8) for _ in TASKS]
    heads = [torch.from_numpy(4 * generator.standard_normal((CLASSES, FEATURES))) for _ in TASKS]
    tasks = [
        UnlabelledTask(name, torch.from_numpy(own), head)
        for name, own, head in zip(TASKS, images, heads, strict=True)
    ]
    return AdaptiveProblem(Encoder(base).double(), base, models, TASKS, tasks, seed=0)


@pytest.fixture
def same_noise(monkeypatch):
    """Draw all masks from the generator that the peer's were drawn from."""
    generator = torch.Generator().manual_seed(NOISE_SEED)
    monkeypatch.setattr(mask_learning, "torch_generator", lambda *_: generator)


def close(found, expected, tolerance=TOLERANCE):
    torch.testing.assert_close(
        torch.as_tensor(found).double(), torch.tensor(expected, dtype=torch.float64), **tolerance
    )


@pytest.mark.parametrize("granularity", ["task", "layer"])
def test_adamerging_agrees(problem, recorded, granularity):
    asked = AdaMergingParameters(**COMMON, lr=0.05, granularity=granularity)
    session = Session(problem, asked, lr=asked.lr, granularity=granularity, dtype=torch.float64)
    fit_coefficients(session, STEPS, label="adamerging")
    found = session.coefficients.by_tensor()
    close(
        found[:, 0] if granularity == "task" else found, recorded[f"adamerging-{granularity}"]["coefficients"]
    )


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.usefixtures("same_noise")
def test_masks_and_coefficients_agree(problem, recorded, name):
    result = merge_with_masks(problem, PLANS[name], torch.float64)
    for tensor, logits in recorded[name]["logits"].items():
        close(result.masks["shared"][tensor], logits)
    if "coefficients" in recorded[name]:
        found = [list(own.values()) for own in result.record["coefficients"].values()]
        close([own[0] for own in found] if name.endswith("task") else found, recorded[name]["coefficients"])


def dam(problem):
    return problem, PLANS["dam-task"]


def awm(problem):
    asked = AwmParameters(**MASKS, variant="released", adv_lr=0.3, adv_weight=0.7)
    return as_merge(hardened(problem)), asked.plan("awm")


def sau(problem):
    merged = hardened(problem)
    weights = {"adv_weight": 0.7, "beta1": 0.4, "beta2": 0.8, "shared_weight": 0.5}
    asked = SauParameters(**MASKS, variant="released", adv_lr=0.3, **weights)
    return as_merge(merged), asked.plan("sau", adversary(merged, asked, torch.float64))


@pytest.mark.parametrize(
    ("name", "pose", "tolerance"),
    [("dam-task", dam, TOLERANCE), ("awm", awm, TOLERANCE), ("sau", sau, SHARED_TOLERANCE)],
    ids=["dam-task", "awm", "sau"],
)
@pytest.mark.usefixtures("same_noise")
def test_perturbations_agree(problem, recorded, name, pose, tolerance):
    learner = MaskLearner(*pose(problem), torch.float64)
    for step in range(STEPS):
        learner.alternate(step)
    corners = learner.adversary.perturbations.values[:, :, :: SIDE - 1, :: SIDE - 1]
    close(corners.detach(), recorded[name]["perturbation"], tolerance)
    [mask] = learner.masks.values()
    for tensor, logits in recorded[name]["logits"].items():
        close(mask.tensors()[tensor], logits, tolerance)


def test_surgery_agrees(problem, recorded, monkeypatch):
    generator = torch.Generator().manual_seed(NOISE_SEED)
    asked = SurgeryParameters(steps=SURGERY_STEPS, batch_size=IMAGES)

    def start(*_):
        """Pass over what the peer draws in vain: its linear layers start twice."""
        torch.empty(2 * asked.rank * FEATURES).uniform_(generator=generator)
        return generator

    adapted = AdaMergingParameters(**COMMON, lr=0.05)
    session = Session(problem, adapted, lr=adapted.lr, granularity=adapted.granularity, dtype=torch.float64)
    fit_coefficients(session, STEPS, label="adamerging")
    session.merge()
    monkeypatch.setattr(surgery, "torch_generator", start)
    repairs, _ = operate(dataclasses.replace(problem, claims=TASKS), session.engine.weights(), asked)
    for task, parts in recorded["surgery"].items():
        close(repairs[task].down, parts["down"])
        close(repairs[task].up, parts["up"])


def fisher_merged(problem):
    asked = fisher.FisherParameters(estimate="mergelm", batch_size=STATISTICS_BATCH, images=IMAGES)
    return fisher.run(problem, asked)


def regmean_merged(problem):
    asked = regmean.RegMeanParameters(off_diagonal=OFF_DIAGONAL, ridge=0, images=IMAGES)
    return regmean.run(problem, asked)


@pytest.mark.parametrize(
    ("name", "merged"), [("fisher", fisher_merged), ("regmean", regmean_merged)], ids=["fisher", "regmean"]
)
def test_measuring_merges_agree(problem, recorded, name, merged):
    found = merged(dataclasses.replace(problem, claims=TASKS)).weights
    assert found.keys() == recorded[name].keys()
    for tensor, weights in recorded[name].items():
        close(found[tensor], weights)


def hardened(problem):
    """Return the models merged by task arithmetic, to be hardened."""
    merged = {
        name: value + 0.3 * sum(one[name] - value for one in problem.contributions)
        for name, value in problem.base.items()
    }
    return HardenProblem(Encoder(merged).double(), problem.base, problem.tasks, 0)
