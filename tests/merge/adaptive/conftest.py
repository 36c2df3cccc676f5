"""A toy vision transformer, with contributions and tasks to merge it for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from mergeward.merge.adaptive import AdaptiveProblem, UnlabelledTask

WIDTH, SIDE, PATCH, FEATURES = 8, 8, 4, 6


class ToyEncoder(nn.Module):
    """One transformer block over 2 x 2 patches."""

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", [0.5, 0.4, 0.45]), ("std", [0.25, 0.3, 0.2])):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.positions = nn.Parameter(torch.empty((SIDE // PATCH) ** 2, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.projection = nn.Linear(WIDTH, FEATURES, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches((images - self.mean) / self.std).flatten(2).transpose(1, 2) + self.positions
        query, key, value = self.qkv(self.norm(tokens)).chunk(3, dim=-1)
        tokens = tokens + F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.mlp(tokens)
        return F.normalize(self.projection(tokens.mean(1)), dim=-1)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fill(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give a module weights that depend on the seed alone."""
    generator = _generator(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return module


def fine_tuned(base: Mapping[str, Tensor], seed: int, scale: float = 0.4) -> dict[str, Tensor]:
    generator = _generator(seed)
    return {
        name: tensor + scale * torch.randn(tensor.shape, generator=generator) for name, tensor in base.items()
    }


def unlabelled(name: str, images: int, classes: int, seed: int) -> UnlabelledTask:
    generator = _generator(seed)
    pixels = torch.randint(0, 256, (images, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    head = F.normalize(torch.randn(classes, FEATURES, generator=generator), dim=-1) * 10
    return UnlabelledTask(name, pixels, head)


def problem_of(encoder: nn.Module, seed: int = 0, **changes: object) -> AdaptiveProblem:
    base = {name: parameter.detach().clone() for name, parameter in encoder.named_parameters()}
    parts: dict[str, object] = {
        "encoder": encoder,
        "base": base,
        "contributions": [fine_tuned(base, 10 + index) for index in range(3)],
        "names": ["first", "second", "third"],
        "tasks": [unlabelled("shapes", 24, 4, 20), unlabelled("signs", 9, 5, 21)],
        "seed": seed,
    }
    parts |= changes
    tasks = [task.name for task in parts["tasks"]]  # type: ignore[attr-defined]
    claims = [tasks[index % len(tasks)] for index, _ in enumerate(parts["names"])]  # type: ignore[arg-type]
    return AdaptiveProblem(**{"claims": claims, **parts})  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep toy models on one thread: waiting for a second costs more than it brings."""
    monkeypatch.setenv("MERGEWARD_THREADS", "1")


@pytest.fixture
def toy() -> nn.Module:
    return fill(ToyEncoder())


@pytest.fixture
def make_problem() -> Callable[..., AdaptiveProblem]:
    """Return a function that builds the toy problem with some of its parts replaced."""

    def make(encoder: nn.Module | None = None, seed: int = 0, **changes: object) -> AdaptiveProblem:
        return problem_of(encoder or fill(ToyEncoder()), seed, **changes)

    return make


class Reference:
    """The same merge inside an autograd graph, in float64: what the engine is held against."""

    def __init__(self, problem: AdaptiveProblem) -> None:
        self.encoder = copy.deepcopy(problem.encoder).double().eval()
        self.base = {name: tensor.double() for name, tensor in problem.base.items()}
        self.task_vectors = [
            {name: contribution[name].double() - tensor for name, tensor in self.base.items()}
            for contribution in problem.contributions
        ]
        self.heads = [task.head.double() for task in problem.tasks]

    def features(self, images: Tensor, coefficients: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        weights = {
            name: tensor
            + masks[name]
            * sum(coefficients[index, place] * taus[name] for index, taus in enumerate(self.task_vectors))
            for place, (name, tensor) in enumerate(self.base.items())
        }
        return functional_call(self.encoder, weights, (images,))

    def logits(
        self, images: Tensor, sizes: Sequence[int], coefficients: Tensor, masks: Mapping[str, Tensor]
    ) -> list[Tensor]:
        features = self.features(images, coefficients, masks).split(list(sizes))
        return [part @ head.T for part, head in zip(features, self.heads, strict=True)]

    def ones(self) -> dict[str, Tensor]:
        return {name: torch.ones_like(tensor) for name, tensor in self.base.items()}


@pytest.fixture
def reference() -> type[Reference]:
    return Reference
