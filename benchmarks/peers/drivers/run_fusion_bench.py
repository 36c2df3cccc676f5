"""One merge by FusionBench, on modules made from plain state dicts; `method` is a row of `METHODS`.

Its algorithms ask a pool for modules, one at a time. The pool here reads them from safetensors files, so that
nothing is asked of a hub. Tensors that are not floating are kept from the algorithms, several of which cannot
take them, and copied from the base.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from fusion_bench import BaseModelPool
from fusion_bench.method.base_algorithm import BaseAlgorithm
from fusion_bench.method.dare.task_arithmetic import DareTaskArithmetic
from fusion_bench.method.dare.ties_merging import DareTiesMerging
from fusion_bench.method.emr_merging.utils import emr_merge
from fusion_bench.method.isotropic_merging.iso import (
    IsotropicMergingInCommonAndTaskSubspace,
    IsotropicMergingInCommonSubspace,
)
from fusion_bench.method.magmax.magmax import MagMaxAlgorithm
from fusion_bench.method.model_stock.model_stock import ModelStock
from fusion_bench.method.simple_average import SimpleAverageAlgorithm
from fusion_bench.method.slerp.slerp import SlerpMergeAlgorithm
from fusion_bench.method.tall_mask.utils import generate_task_masks
from fusion_bench.method.task_arithmetic.task_arithmetic import TaskArithmeticAlgorithm
from fusion_bench.method.task_singular_vector.TSVM import TaskSingularVectorMerging
from fusion_bench.method.ties_merging.ties_merging import TiesMergingAlgorithm
from fusion_bench.method.weighted_average.weighted_average import WeightedAverageAlgorithm
from fusion_bench.method.wudi.wudi import WUDIMerging
from fusion_bench.utils.state_dict_arithmetic import state_dict_sub
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

BASE = "_pretrained_"
Tensors = dict[str, Tensor]


class Files(BaseModelPool):
    """A pool that reads a module from its file whenever it is asked for one."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        super().__init__(models=dict.fromkeys(paths, nn.Identity()))
        self._paths = paths

    def load_model(self, model_name_or_config: str, *_: Any, **__: Any) -> nn.Module:
        """Return a new module of one model's floating tensors."""
        return module(read(self._paths[model_name_or_config])[0])


def read(path: str) -> tuple[Tensors, Tensors]:
    """Return the floating tensors of a checkpoint, and the others."""
    place = Path(path)
    files = sorted(place.glob("*.safetensors")) if place.is_dir() else [place]
    tensors: Tensors = {}
    for file in files:
        with safe_open(file, "pt") as handle:
            tensors |= {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    return floating, {name: tensor for name, tensor in tensors.items() if name not in floating}


def module(tensors: Tensors) -> nn.Module:
    """Return a module whose state dict is `tensors`, under their dotted names."""
    root = nn.Module()
    for name, tensor in tensors.items():
        *folders, last = name.split(".")
        place = root
        for folder in folders:
            if folder not in dict(place.named_children()):
                place.add_module(folder, nn.Module())
            place = place.get_submodule(folder)
        place.register_parameter(last, nn.Parameter(tensor))
    return root


def consensus(pool: Files, *, mask_lambda: float, least: int, scale: float) -> nn.Module:
    """Merge by Consensus TA from FusionBench's own masks; its own path of it cannot load what it saved."""
    base = pool.load_model(BASE)
    models = [pool.load_model(name) for name in pool.model_names]
    flat_base, *flat = (nn.utils.parameters_to_vector(one.parameters()) for one in (base, *models))
    tuned = torch.vstack(flat)
    deltas = tuned - flat_base
    masks = generate_task_masks(deltas, tuned, flat_base, tall_mask_lambda=mask_lambda)
    kept = masks.sum(0) >= least
    nn.utils.vector_to_parameters(flat_base + scale * deltas.sum(0) * kept, base.parameters())
    return base


def emr(pool: Files, *, task: int) -> nn.Module:
    """Return the base with the unified task vector, masked and rescaled for one task, of EMR."""
    base = pool.load_model(BASE)
    start = base.state_dict()
    deltas = [state_dict_sub(pool.load_model(name).state_dict(), start) for name in pool.model_names]
    unified, masks, rescalers = emr_merge(deltas)
    for name, parameter in base.named_parameters():
        parameter.add_(unified[name] * masks[name][task] * rescalers[task])
    return base


def _algorithm(made: type[BaseAlgorithm]) -> Callable[..., nn.Module]:
    return lambda pool, **parameters: made(**parameters).run(pool)


METHODS: dict[str, Callable[..., nn.Module]] = {
    "simple_average": _algorithm(SimpleAverageAlgorithm),
    "weighted_average": _algorithm(WeightedAverageAlgorithm),
    "task_arithmetic": _algorithm(TaskArithmeticAlgorithm),
    "ties_merging": _algorithm(TiesMergingAlgorithm),
    "dare_task_arithmetic": _algorithm(DareTaskArithmetic),
    "dare_ties": _algorithm(DareTiesMerging),
    "slerp": _algorithm(SlerpMergeAlgorithm),
    "model_stock": _algorithm(ModelStock),
    "magmax": _algorithm(MagMaxAlgorithm),
    "consensus": consensus,
    "emr": emr,
    "tsv_m": _algorithm(TaskSingularVectorMerging),
    "iso_c": _algorithm(IsotropicMergingInCommonSubspace),
    "iso_cts": _algorithm(IsotropicMergingInCommonAndTaskSubspace),
    "wudi": _algorithm(WUDIMerging),
}
LEARNS = {"wudi"}
"""Methods that need gradients."""


def main() -> None:
    """Run the job."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    paths = {BASE: job["base"]}
    paths |= {f"model_{index}": path for index, path in enumerate(job["contributions"])}
    with torch.set_grad_enabled(job["method"] in LEARNS):
        merged = METHODS[job["method"]](Files(paths), **job.get("parameters", {}))
    dtype = getattr(torch, job["dtype"])
    tensors = {name: tensor.detach().to(dtype).contiguous() for name, tensor in merged.state_dict().items()}
    save_file({**tensors, **read(job["base"])[1]}, job["output"], metadata={"format": "pt"})


if __name__ == "__main__":
    main()
