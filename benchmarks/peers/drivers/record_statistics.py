"""Runs FusionBench's own arithmetic of Fisher merging and RegMean, and prints what comes of it as JSON.

Its output is kept as `tests/merge/adaptive/fusion_bench.json`; the test there makes the same inputs.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
from fusion_bench.method.fisher_merging.fisher_merging import merging_with_fisher_weights
from fusion_bench.method.regmean.regmean import merging_with_regmean_weights

MODELS, OUT, IN, TOKENS = 3, 2, 4, 40
OFF_DIAGONAL = 0.95


def drawn(generator: np.random.Generator, *shape: int) -> torch.Tensor:
    """Return standard normal numbers, float32."""
    return torch.from_numpy(generator.standard_normal(shape).astype(np.float32))


def main() -> None:
    """Print both merges."""
    generator = np.random.default_rng(0)
    weights = [drawn(generator, OUT, IN) for _ in range(MODELS)]
    fishers = [drawn(generator, OUT, IN) ** 2 * 10.0 ** (-2 * index) for index in range(MODELS)]
    inputs = [drawn(generator, TOKENS, IN) for _ in range(MODELS)]
    models = {"layer.weight": weights}
    fisher = merging_with_fisher_weights(
        models, [{"layer.weight": one} for one in fishers], torch.ones(MODELS) / MODELS
    )
    regmean = merging_with_regmean_weights(
        models, [{"layer": x.T @ x / len(x)} for x in inputs], reduce_non_diagonal_ratio=OFF_DIAGONAL
    )
    merged = {"fisher": fisher, "regmean": regmean}
    found = {name: one["layer.weight"].tolist() for name, one in merged.items()}
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
