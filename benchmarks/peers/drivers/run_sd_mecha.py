"""One merge by sd-mecha; `method` is a function of `sd_mecha`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import sd_mecha
import torch
from sd_mecha.extensions.builtin.merge_methods.linear import add_difference

OF_MODELS = {"n_average", "geometric_median"}
"""Functions of the contributions alone; the others take the base first."""

OF_DELTAS = {"ties_sum"}
"""Functions of the differences from the base, whose result is added to it."""


def recipe(job: dict[str, Any]) -> Any:
    """Return the job as a recipe of sd-mecha."""
    parameters = dict(job.get("parameters", {}))
    base = sd_mecha.model(job["base"])
    models = [sd_mecha.model(path) for path in job["contributions"]]
    if job["method"] == "task_arithmetic":
        return _sum_of_differences(base, models, parameters["alpha"])
    function = getattr(sd_mecha, job["method"])
    if job["method"] in OF_DELTAS:
        alpha = parameters.pop("alpha")
        deltas = [sd_mecha.subtract(model, base) for model in models]
        return add_difference(base, function(*deltas, **parameters), alpha=alpha)
    return function(*([] if job["method"] in OF_MODELS else [base]), *models, **parameters)


def _sum_of_differences(base: Any, models: list[Any], alpha: float) -> Any:
    """The package's own `add_difference` takes one model, and fails on its own result."""
    merged = base
    for model in models:
        merged = add_difference(merged, sd_mecha.subtract(model, base), alpha=alpha)
    return merged


def main() -> None:
    """Run the job with sd-mecha's defaults, but for the type of the output, which would be float16."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sd_mecha.merge(recipe(job), output=job["output"], output_dtype=getattr(torch, job["dtype"]))


if __name__ == "__main__":
    main()
