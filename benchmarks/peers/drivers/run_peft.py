"""One merge by the functions of `peft.utils.merge_utils`, tensor by tensor, on task vectors.

PEFT merges adapters; its functions take plain tensors, which is what is compared here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from peft.utils import merge_utils
from safetensors import safe_open
from safetensors.torch import save_file


def main() -> None:
    """Run the job: `method` is a function, `weights` in `parameters` one weight for each contribution."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    parameters = dict(job["parameters"])
    weights = torch.tensor(parameters.pop("weights"))
    function = getattr(merge_utils, job["method"])
    dtype = getattr(torch, job["dtype"])
    merged = {}
    base = safe_open(job["base"], "pt")
    models = [safe_open(path, "pt") for path in job["contributions"]]
    for name in base.keys():  # noqa: SIM118 - no mapping
        tensor = base.get_tensor(name)
        if tensor.is_floating_point():
            start = tensor.float()
            deltas = [model.get_tensor(name).float() - start for model in models]
            tensor = (start + function(deltas, weights, **parameters)).to(dtype)
        merged[name] = tensor.contiguous()
    save_file(merged, job["output"], metadata={"format": "pt"})


if __name__ == "__main__":
    main()
