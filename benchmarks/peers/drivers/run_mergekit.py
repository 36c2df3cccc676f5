"""One merge by mergekit: `mergekit-pytorch` for plain files, `mergekit-yaml` for folders."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

OFFLINE = ["--no-copy-tokenizer", "--no-write-model-card"]
"""The synthetic models have no tokenizer, and a card asks a hub about its models."""


def recipe(job: dict[str, Any]) -> dict[str, Any]:
    """Return the job as a recipe of mergekit; JSON is YAML."""
    each = job.get("model_parameters") or [{}] * len(job["contributions"])
    models = [
        {"model": path, "parameters": own} for path, own in zip(job["contributions"], each, strict=True)
    ]
    made = {
        "merge_method": job["method"],
        "models": models,
        "parameters": job.get("parameters", {}),
        "dtype": job["dtype"],
    }
    return made if job["method"] == "linear" else {**made, "base_model": job["base"]}


def main() -> None:
    """Write the recipe beside the output and become mergekit's own command."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    config = Path(f"{job['output']}.recipe.yaml")
    config.write_text(json.dumps(recipe(job)), encoding="utf-8")
    tool = "mergekit-yaml" if Path(job["base"]).is_dir() else "mergekit-pytorch"
    program = str(Path(sys.executable).parent / tool)
    os.execv(program, [program, str(config), job["output"], *OFFLINE])  # noqa: S606


if __name__ == "__main__":
    main()
