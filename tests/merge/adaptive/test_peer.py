"""Fisher merging and RegMean against FusionBench 0.2.33, by what its own functions gave.

`benchmarks/peers/drivers/record_statistics.py` wrote `fusion_bench.json` from the same inputs.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mergeward.merge.adaptive.fisher import fisher_mean
from mergeward.merge.adaptive.regmean import LayerSums, scaled_down

MODELS, OUT, IN, TOKENS = 3, 2, 4, 40
OFF_DIAGONAL = 0.95


@pytest.fixture
def recorded():
    content = json.loads(Path(__file__).with_name("fusion_bench.json").read_text("utf-8"))
    return {name: torch.tensor(values) for name, values in content.items()}


@pytest.fixture
def inputs():
    generator = np.random.default_rng(0)

    def drawn(*shape):
        return torch.from_numpy(generator.standard_normal(shape).astype(np.float32))

    weights = [drawn(OUT, IN) for _ in range(MODELS)]
    fishers = [drawn(OUT, IN) ** 2 * 10.0 ** (-2 * index) for index in range(MODELS)]
    return weights, fishers, [drawn(TOKENS, IN) for _ in range(MODELS)]


def test_fisher_merging_agrees(inputs, recorded):
    weights, fishers, _ = inputs
    models, values = ([{"w": one} for one in group] for group in (weights, fishers))
    merged, _ = fisher_mean(models, values, normalize=True, floor=1e-6)
    torch.testing.assert_close(merged["w"], recorded["fisher"], rtol=1e-5, atol=1e-6)


def test_regmean_agrees(inputs, recorded):
    weights, _, every = inputs
    sums = LayerSums(IN)
    for weight, x in zip(weights, every, strict=True):
        sums.add(scaled_down(x.T @ x / len(x), OFF_DIAGONAL), weight)
    merged = sums.solve(torch.zeros(OUT, IN), 0.0, "layer")
    torch.testing.assert_close(merged, recorded["regmean"], rtol=1e-5, atol=1e-5)
