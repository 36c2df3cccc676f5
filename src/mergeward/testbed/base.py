"""Where the bases of the test-bed are: the embedded one, and those pretrained here on other images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from mergeward.cache import artefact, artefact_folder, cache_root, content_key
from mergeward.tasks import Task
from mergeward.testbed.pretrain import PretrainConfig, pretrain

EMBEDDED = "embedded"


def base_path(name: str | Path) -> str | Path:
    """Return where a base is: the package's own for the name `embedded`, anything else as it stands."""
    return Path(str(files("mergeward.testbed") / "base")) if str(name) == EMBEDDED else name


def local_base(tasks: Sequence[Task], config: PretrainConfig = PretrainConfig()) -> Path:  # noqa: B008
    """Return a base pretrained on the train splits of `tasks`, from the cache or made now (resumable).

    Weights trained on images whose licence is for research only must not be distributed; that is why they
    stay in the cache.
    """
    configuration = _configuration(tasks, config)
    progress_file = cache_root() / "base" / f"{content_key(configuration)}.progress.safetensors"
    folder = artefact(
        "base", configuration, lambda scratch: pretrain(tasks, scratch / "model", config, progress_file)
    )
    return folder / "model"


def found_base(tasks: Sequence[Task], config: PretrainConfig = PretrainConfig()) -> Path | None:  # noqa: B008
    """Return where `local_base` has a base already; None where it would pretrain one."""
    folder = artefact_folder("base", _configuration(tasks, config))
    return folder / "model" if folder.is_dir() else None


def _configuration(tasks: Sequence[Task], config: PretrainConfig) -> dict[str, Any]:
    return {"tasks": {task.name: task.fingerprint for task in tasks}, "pretrain": asdict(config)}
