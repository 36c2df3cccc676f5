"""How a merge is asked of mergeward and of a peer: a command, and where its output will be."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from harness.measure import Bounds, Run, run
from peers.catalogue import Peer

QUIET = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Call:
    """One merge in a tool's own terms.

    Attributes:
        method: The tool's name of the method.
        parameters: Its parameters.
        each: Parameters of each contribution, or one mapping for all of them.
    """

    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    each: Mapping[str, Any] | Sequence[Mapping[str, Any]] = field(default_factory=dict)

    def per_model(self, count: int) -> list[dict[str, Any]]:
        """Return the parameters of each of `count` contributions."""
        if isinstance(self.each, Mapping):
            return [dict(self.each) for _ in range(count)]
        return [dict(own) for own in self.each[:count]]


@dataclass(frozen=True)
class Inputs:
    """What is merged.

    Attributes:
        base: The base: a file, or a folder in Hugging Face layout.
        contributions: The contributions, likewise.
        dtype: Type of the output, as torch calls it.
    """

    base: Path
    contributions: Sequence[Path]
    dtype: str = "float32"

    def files(self) -> list[Path]:
        """Return every weights file."""
        return [file for path in (self.base, *self.contributions) for file in weights_files(path)]


@dataclass(frozen=True)
class Job:
    """One merge, ready to run.

    Attributes:
        command: Program and arguments.
        env: Its environment.
        output: The file or folder that it writes.
        cache: A cache that no earlier run may have left anything in, if any.
    """

    command: Sequence[str]
    env: Mapping[str, str]
    output: Path
    cache: Path | None = None

    def run(self, bounds: Bounds) -> Run:
        """Run it from a clean start and measure it; what it wrote stays."""
        self.remove()
        return run(self.command, log=Path(f"{self.output}.log"), bounds=bounds, env=self.env)

    def forgetful(self, cache: Path) -> Job:
        """Return the same job of mergeward with a cache of its own, which `remove` empties."""
        return Job(self.command, {**self.env, "MERGEWARD_CACHE": str(cache)}, self.output, cache)

    def remove(self) -> None:
        """Remove what it wrote."""
        if self.cache is not None:
            shutil.rmtree(self.cache, ignore_errors=True)
        if self.output.is_dir():
            shutil.rmtree(self.output)
        else:
            self.output.unlink(missing_ok=True)


def ours(call: Call, inputs: Inputs, scratch: Path, *, name: str = "ours") -> Job:
    """Return a merge by the command line of mergeward, in this process's environment."""
    entries = [
        {"model": str(path), "parameters": own}
        for path, own in zip(inputs.contributions, call.per_model(len(inputs.contributions)), strict=True)
    ]
    recipe = {
        "merge_method": call.method,
        "base_model": str(inputs.base),
        "models": entries,
        "parameters": dict(call.parameters),
        "dtype": inputs.dtype,
    }
    path = scratch / f"{name}.recipe.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")
    return mergeward(path, scratch / name)


def mergeward(recipe: Path, output: Path) -> Job:
    """Return a merge of a recipe that is there."""
    command = [sys.executable, "-m", "mergeward", "merge", str(recipe), str(output)]
    return Job(command, {**os.environ, **QUIET}, output)


def theirs(peer: Peer, interpreter: Path, call: Call, inputs: Inputs, scratch: Path) -> Job:
    """Return a merge by a peer's driver, in that peer's environment alone."""
    output = scratch / (peer.name if peer.writes_folder else f"{peer.name}.safetensors")
    job = {
        "base": str(inputs.base),
        "contributions": [str(path) for path in inputs.contributions],
        "output": str(output),
        "method": call.method,
        "parameters": dict(call.parameters),
        "model_parameters": call.per_model(len(inputs.contributions)),
        "dtype": inputs.dtype,
    }
    path = scratch / f"{peer.name}.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return Job([str(interpreter), str(peer.script), str(path)], without_ours(), output)


def start_of(peer: Peer, interpreter: Path, scratch: Path) -> Job:
    """Return the start of a peer: importing what its driver does, and nothing else."""
    return Job([str(interpreter), "-c", f"import {peer.module}"], without_ours(), scratch / "nothing")


def start_of_ours(scratch: Path) -> Job:
    """Return the start of mergeward: its help."""
    command = [sys.executable, "-m", "mergeward", "merge", "--help"]
    return Job(command, {**os.environ, **QUIET}, scratch / "nothing")


def without_ours() -> dict[str, str]:
    """Return this process's environment for another Python: no path to our packages."""
    env = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return {**env, **QUIET}


def weights_files(path: Path) -> list[Path]:
    """Return the safetensors files of a model."""
    return sorted(path.glob("*.safetensors")) if path.is_dir() else [path]


def read(path: Path) -> dict[str, Tensor]:
    """Return every tensor of a model."""
    tensors: dict[str, Tensor] = {}
    for file in weights_files(path):
        with safe_open(file, "pt") as handle:
            tensors |= {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    return tensors
