"""Runs FusionBench's own adaptive merges on a tiny encoder, and prints what they come to.

Those that learn take a few steps; Fisher merging and RegMean measure the models on all images.

Its output is kept as `tests/merge/adaptive/fusion_bench_learning.json`; the test there makes the same inputs.
The classes are driven as their own commands drive them, but for what they would fetch: models, images and
heads are made here, masks and the start of surgery are drawn from a seeded generator, and a bare stand-in
takes the place of Lightning's fabric.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from fusion_bench.method.adamerging.layer_wise_adamerging import LayerWiseAdaMergingAlgorithm
from fusion_bench.method.adamerging.task_wise_adamerging import TaskWiseAdaMergingAlgorithm
from fusion_bench.method.concrete_subspace import clip_post_defense
from fusion_bench.method.concrete_subspace.clip_concrete_adamerging import (
    ConcreteLayerWiseAdaMergingForCLIP,
    ConcreteTaskWiseAdaMergingForCLIP,
)
from fusion_bench.method.concrete_subspace.clip_concrete_task_arithmetic import (
    ConcreteTaskArithmeticAlgorithmForCLIP,
)
from fusion_bench.method.concrete_subspace.clip_post_defense import (
    PostDefenseAWMAlgorithmForCLIP,
    PostDefenseSAUAlgorithmForCLIP,
)
from fusion_bench.method.concrete_subspace.clip_safe_concrete_adamerging import (
    ConcreteSafeTaskWiseAdaMergingForCLIP,
)
from fusion_bench.method.fisher_merging import clip_fisher_merging
from fusion_bench.method.fisher_merging.fisher_merging import merging_with_fisher_weights
from fusion_bench.method.regmean import clip_regmean
from fusion_bench.method.regmean.regmean import merging_with_regmean_weights
from omegaconf import DictConfig
from stand_in import Driven, Fabric
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.clip import modeling_clip

TASKS = ("warm", "cold")
IMAGES, SIDE, CELL = 4, 224, 56
WIDTH, FEATURES, CLASSES = 8, 5, 3
MEAN, STD = (0.5, 0.4, 0.45), (0.25, 0.3, 0.2)
STEPS, SURGERY_STEPS, NOISE_SEED = 4, 40, 7
STATISTICS_BATCH, OFF_DIAGONAL = 2, 0.8
NEVER = 10**9
NUMBERS = {
    "optimizer": "adam",
    "merge_dtype": None,
    "max_steps": STEPS,
    "max_adamerging_steps": STEPS,
    "lr": 0.05,
    "base_lr": 1.0,
    "adv_lr": 0.3,
    "adamerging_lr": 0.02,
    "scaling_factor": 0.3,
    "init_values": 0.3,
    "weights": None,
    "adv_weight": 0.7,
    "beta1": 0.4,
    "beta2": 0.8,
    "shared_weight": 0.5,
    "initial_logits": 0,
    "temperature": 0.5,
    "clamp_weights": False,
    "tie_weights": True,
    "strict": False,
    "save_interval": NEVER,
    "surgery_steps": SURGERY_STEPS,
    "eval_iterations": NEVER,
}


class Encoder(nn.Module):
    """Mean colours of a 4 x 4 grid, and two layers."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.first = nn.Linear(3 * (SIDE // CELL) ** 2, WIDTH)
        self.second = nn.Linear(WIDTH, FEATURES)
        self.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        # what the classes ask of a model of transformers
        self.config, self.device = SimpleNamespace(projection_dim=FEATURES), torch.device("cpu")

    def forward(self, pixels: Tensor) -> Tensor:
        """Return unit features of normalised pixels."""
        hidden = F.gelu(self.first(F.avg_pool2d(pixels, CELL).flatten(1)))
        return F.normalize(self.second(hidden), dim=-1)


def inputs() -> dict[str, Any]:
    """Return models, images and heads; the test makes the same."""
    generator = np.random.default_rng(0)
    grid = 3 * (SIDE // CELL) ** 2
    shapes = {
        "first.weight": (WIDTH, grid),
        "first.bias": (WIDTH,),
        "second.weight": (FEATURES, WIDTH),
        "second.bias": (FEATURES,),
    }

    def drawn(scale: float) -> dict[str, np.ndarray]:
        return {name: scale * generator.standard_normal(shape) for name, shape in shapes.items()}

    base = drawn(0.5)
    models = {task: {name: base[name] + move for name, move in drawn(0.4).items()} for task in TASKS}
    images = {task: generator.integers(0, 256, (IMAGES, 3, SIDE, SIDE), dtype=np.uint8) for task in TASKS}
    heads = {task: 4 * generator.standard_normal((CLASSES, FEATURES)) for task in TASKS}
    return {"base": base, "models": models, "images": images, "heads": heads}


def merged(made: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the models merged by task arithmetic; the test makes the same."""
    base, models = made["base"], made["models"].values()
    return {name: base[name] + 0.3 * sum(one[name] - base[name] for one in models) for name in base}


class Made(Driven):
    """Stands before one of the classes, and gives it what it would load."""

    def __init__(self) -> None:
        super().__init__(DictConfig(NUMBERS))  # type: ignore[call-arg]
        self._made = inputs()
        self._own_fabric = self._fabric = Fabric()
        self.modelpool = SimpleNamespace(
            model_names=list(TASKS),
            load_model=self._model,
            config=SimpleNamespace(tta_datasets=[{"name": task} for task in TASKS]),
            get_train_dataset_config=lambda task: {"dataset": SimpleNamespace(name=task)},
        )

    def _model(self, name: str) -> nn.Module:
        made = self._made
        if name == "merge":
            return Encoder(merged(made)).double()
        return Encoder(made["base"] if name == "_pretrained_" else made["models"][name]).double()

    def get_shuffled_test_loader_iter(self, task: str, **_: Any) -> Iterator[tuple[Tensor, None]]:
        """Return all images of a task, normalised."""
        mean, std = (torch.tensor(values).double().view(3, 1, 1) for values in (MEAN, STD))
        return iter([((torch.from_numpy(self._made["images"][task]) / 255.0 - mean) / std, None)])

    def compute_logits(self, module: Any, images: Any, task: str) -> Tensor:
        """Return the logits of images; some classes hand over the whole batch."""
        pixels = images[0] if isinstance(images, tuple | list) else images
        return module(pixels) @ torch.from_numpy(self._made["heads"][task]).T

    def compute_features(self, module: Any, images: Tensor) -> Tensor:
        """Return the features of images."""
        return module(images)

    def setup_zero_shot_classification_head(self, *_: Any, **__: Any) -> None:
        """Do nothing: the heads are made here."""

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing."""


def adamerging(algorithm: type) -> dict[str, Any]:
    """Return the coefficients that AdaMerging learnt."""
    driven = type("Driven", (Made, algorithm), {})()
    name = "task" if algorithm is TaskWiseAdaMergingAlgorithm else "layer"
    module = getattr(driven, f"construct_{name}_wise_merged_model")(driven.modelpool)
    module = driven.test_time_adaptation(module)
    return {"coefficients": _listed(module.merge_weight)}


def concrete(algorithm: type) -> dict[str, Any]:
    """Return the logits of the mask that was learnt, then the coefficients learnt under a draw of it."""
    driven = type("Driven", (Made, algorithm), {})()
    module, mask = driven.setup_models()
    driven.train_mask(module, mask)
    found: dict[str, Any] = {"logits": _values(mask)}
    if hasattr(driven, "pertubed_model"):
        found["perturbation"] = _ends(driven.pertubed_model.perturbed_input)
    if hasattr(driven, "run_adamerging"):
        with torch.no_grad():
            drawn = mask.sample_mask(mask_type="continuous", temperature=NUMBERS["temperature"])
        driven.run_adamerging(module, {name: one / one.mean() for name, one in drawn.items()})
        found["coefficients"] = _listed(module.merge_weight)
    return found


def post_defense(algorithm: type) -> dict[str, Any]:
    """Return the logits of the mask on the change of a merged model, and the perturbation."""
    driven = type("Driven", (Made, algorithm), {})()
    models = driven.setup_models()
    driven.train_mask(*models)
    return {"logits": _values(models[-1]), "perturbation": _ends(driven.pertubed_model.perturbed_input)}


def surgery() -> dict[str, Any]:
    """Return the two layers of each task's module, learnt on top of layer-wise AdaMerging."""
    # for its annotations alone the class imports a name that the installed transformers has no more
    modeling_clip.CLIPVisionTransformer = modeling_clip.CLIPVisionModel
    module = importlib.import_module("fusion_bench.method.surgery.clip_layer_wise_adamerging_surgery")
    module.SurgeryModelWrapper = partial(_started, module.SurgeryModelWrapper)
    driven = type("Driven", (Made, module.CLIPLayerWiseAdaMergingSurgeryAlgorithm), {})()
    wrapper = driven.run(driven.modelpool)["surgery"]
    return {
        task: {
            part: _listed(getattr(wrapper, f"feature_mapping_to_head_{part}_proj_{task}").weight)
            for part in ("down", "up")
        }
        for task in TASKS
    }


def fisher() -> dict[str, Any]:
    """Return the weights merged by Fisher values that the class estimates in batches."""
    clip_fisher_merging.CLIPDataset = _as_it_is

    def values(made: Made, task: str, model: nn.Module) -> dict[str, Tensor]:
        names = list(dict(model.named_parameters()))
        algorithm = clip_fisher_merging.FisherMergingForCLIPVisionModel
        return algorithm.get_fisher_weights(_measuring(made), task, model, _pixels(made, task), names)

    return _merged_by(
        values, partial(merging_with_fisher_weights, fisher_scaling_coefficients=torch.ones(2) / 2)
    )


def regmean() -> dict[str, Any]:
    """Return the weights merged by Gram matrices that the class takes from the layers' inputs."""
    clip_regmean.CLIPDataset = _as_it_is

    def grams(made: Made, task: str, model: nn.Module) -> dict[str, Tensor]:
        layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        algorithm = clip_regmean.RegMeanAlgorithmForCLIP
        return algorithm.get_regmean_weights(_measuring(made), task, model, _pixels(made, task), layers)

    return _merged_by(grams, partial(merging_with_regmean_weights, reduce_non_diagonal_ratio=OFF_DIAGONAL))


def _merged_by(
    measure: Callable[[Made, str, nn.Module], dict[str, Tensor]], merge: Callable[..., dict[str, Tensor]]
) -> dict[str, Any]:
    made = type("Driven", (Made, _Bare), {})()
    models = {task: made.modelpool.load_model(task) for task in TASKS}
    measured = [measure(made, task, model) for task, model in models.items()]
    names = dict(next(iter(models.values())).named_parameters())
    stacked = {name: [model.get_parameter(name).detach() for model in models.values()] for name in names}
    return {name: _listed(value) for name, value in merge(stacked, measured).items()}


def _measuring(made: Made) -> Any:
    """Return what the methods that measure a model ask of their class."""
    return SimpleNamespace(
        clip_processor=None,
        dataloader_kwargs={"batch_size": STATISTICS_BATCH},
        fabric=SimpleNamespace(setup=lambda one: one, setup_dataloaders=lambda one: one),
        config=SimpleNamespace(num_fisher_examples=IMAGES),
        num_regmean_examples=IMAGES,
        compute_logits=made.compute_logits,
    )


def _pixels(made: Made, task: str) -> list[tuple[Tensor, int]]:
    [(images, _)] = made.get_shuffled_test_loader_iter(task)
    return [(image, 0) for image in images]


class _Bare:
    """In the place of a class of which one function alone is called."""

    def __init__(self, config: DictConfig) -> None:
        self.config = config


def _as_it_is(dataset: Any, _: Any) -> Any:
    return dataset


def _started(made: Any, *given: Any, **options: Any) -> Any:
    """Make the modules of surgery from the seed, in the type of all models here."""
    torch.manual_seed(NOISE_SEED)  # noqa: TID251 - where PyTorch's linear layers start from
    return made(*given, **options).double()


def _values(mask: Any) -> dict[str, Any]:
    return {name: _listed(value) for name, value in mask.named_parameters()}


def _ends(perturbation: Tensor) -> list[Any]:
    """Return the corners of each task's perturbation."""
    return _listed(perturbation[:, :, :: SIDE - 1, :: SIDE - 1])


def _listed(values: Tensor) -> list[Any]:
    """Return numbers to six places."""
    return np.round(values.detach().double().numpy(), 6).tolist()


def main() -> None:
    """Print what each class learnt."""
    uniform = torch.rand
    jobs = {
        "adamerging-task": lambda: adamerging(TaskWiseAdaMergingAlgorithm),
        "adamerging-layer": lambda: adamerging(LayerWiseAdaMergingAlgorithm),
        "concrete_task_arithmetic": lambda: concrete(ConcreteTaskArithmeticAlgorithmForCLIP),
        "concrete_adamerging-task": lambda: concrete(ConcreteTaskWiseAdaMergingForCLIP),
        "concrete_adamerging-layer": lambda: concrete(ConcreteLayerWiseAdaMergingForCLIP),
        "dam-task": lambda: concrete(ConcreteSafeTaskWiseAdaMergingForCLIP),
        "awm": lambda: post_defense(PostDefenseAWMAlgorithmForCLIP),
        "sau": lambda: post_defense(PostDefenseSAUAlgorithmForCLIP),
        "surgery": surgery,
        "fisher": fisher,
        "regmean": regmean,
    }
    # SAU's class asks for a task's names only to count them
    clip_post_defense.get_classnames_and_templates = lambda _: (range(CLASSES), None)
    found = {}
    for name, job in jobs.items():
        generator = torch.Generator().manual_seed(NOISE_SEED)
        torch.rand = lambda *shape, own=generator, **options: uniform(*shape, generator=own, **options)
        with contextlib.redirect_stdout(io.StringIO()):
            found[name] = job()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
