"""`adapter_config.json` of a LoRA adapter: what its delta is, and what would make it another."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mergeward.checkpoint.files import contained, read_json_object
from mergeward.errors import CheckpointError

ADAPTER_CONFIG = "adapter_config.json"

_HARMLESS = frozenset(
    {"auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config"}
    | {"exclude_modules", "inference_mode", "layers_pattern", "layers_to_transform", "loftq_config"}
    | {"lora_dropout", "megatron_config", "megatron_core", "peft_version", "qalora_group_size", "revision"}
    | {"target_modules", "task_type"}
)
"""Settings that say where the factors are and how they were trained, and nothing of what they make."""

_READ = frozenset(
    {"alpha_pattern", "bias", "fan_in_fan_out", "init_lora_weights", "lora_alpha", "modules_to_save"}
    | {"peft_type", "r", "rank_pattern", "use_rslora"}
)
_NAMED = {
    "use_dora": "DoRA",
    "lora_bias": "a bias of LoRA's own",
    "target_parameters": "LoRA of bare parameters",
}
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class AdapterConfig:
    """What the factors of an adapter make.

    Attributes:
        rank: Rank of a delta (`r`).
        alpha: `lora_alpha`.
        rank_pattern: Other ranks, by the end of a module's name.
        alpha_pattern: Other alphas, likewise.
        rank_stabilised: Whether alpha is divided by the root of the rank (rsLoRA) and not by the rank.
        turned: Whether the base stores its weights as `[in, out]` (`fan_in_fan_out`).
        bias: "none", "all" or "lora_only": which biases the adapter must hold.
        modules_to_save: Ends of the names of modules that the adapter holds whole.
    """

    rank: int
    alpha: float
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    rank_stabilised: bool = False
    turned: bool = False
    bias: str = "none"
    modules_to_save: tuple[str, ...] = ()

    def rank_of(self, module: str) -> int:
        """Return the rank of a module's delta."""
        return next((rank for end, rank in self.rank_pattern.items() if _ends(module, end)), self.rank)

    def scaling_of(self, module: str) -> float:
        """Return what a module's product of factors is multiplied by."""
        rank = self.rank_of(module)
        alpha = next((value for end, value in self.alpha_pattern.items() if _ends(module, end)), self.alpha)
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read and check the settings of an adapter.

    Args:
        folder: The adapter's folder.

    Raises:
        CheckpointError: They are missing or malformed, or ask for something other than a plain delta of low
            rank; what is not known is refused too, since it may change what the factors make.
    """
    path = contained(folder, ADAPTER_CONFIG)
    content = read_json_object(path)
    if content.get("peft_type") != "LORA":
        raise CheckpointError(
            f"{path}: peft_type is {content.get('peft_type')!r:.40}; only 'LORA' is supported"
        )
    for key, value in content.items():
        if value and key not in _HARMLESS | _READ:
            what = _NAMED.get(key, "a setting that is not known")
            raise CheckpointError(f"{path}: {key:.80}: {what}; not supported")
    start = content.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        raise CheckpointError(
            f"{path}: init_lora_weights: {start!r:.40} changes the base itself; save the adapter converted "
            f"to plain LoRA (PEFT's path_initial_model_for_weight_conversion)"
        )
    bias = content.get("bias", "none")
    if bias not in ("none", "all", "lora_only"):
        raise CheckpointError(f"{path}: bias: expected none, all or lora_only, found {bias!r:.40}")
    ranks, alphas = _pattern(path, content, "rank_pattern"), _pattern(path, content, "alpha_pattern")
    return AdapterConfig(
        rank=_rank(path, "r", content.get("r", 8)),
        alpha=_number(path, "lora_alpha", content.get("lora_alpha", 8)),
        rank_pattern={end: _rank(path, "rank_pattern", rank) for end, rank in ranks},
        alpha_pattern={end: _number(path, "alpha_pattern", alpha) for end, alpha in alphas},
        rank_stabilised=_flag(path, content, "use_rslora"),
        turned=_flag(path, content, "fan_in_fan_out"),
        bias=bias,
        modules_to_save=_names(path, content.get("modules_to_save") or []),
    )


def _ends(module: str, end: str) -> bool:
    """Whether a name is, or ends in, what a pattern says; `^` ties it to the beginning."""
    return module == end.removeprefix("^") or (not end.startswith("^") and module.endswith(f".{end}"))


def _pattern(path: Path, content: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    found = content.get(key) or {}
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: {key}: expected an object")
    for end in found:
        # PEFT takes these for regular expressions, which a hostile file can make run for ever.
        if not re.fullmatch(r"\^?[\w.]+", end):
            raise CheckpointError(f"{path}: {key}: {end!r:.80} is no plain name, and expressions are refused")
    return list(found.items())


def _rank(path: Path, key: str, value: object) -> int:
    if type(value) is not int or value < 1:
        raise CheckpointError(f"{path}: {key}: expected a whole number above 0")
    return value


def _number(path: Path, key: str, value: object) -> float:
    if type(value) not in {int, float} or not abs(value) < 1e9:  # type: ignore[arg-type]
        raise CheckpointError(f"{path}: {key}: expected a number")
    return float(value)  # type: ignore[arg-type]


def _flag(path: Path, content: Mapping[str, Any], key: str) -> bool:
    value = content.get(key, False)
    if not isinstance(value, bool):
        raise CheckpointError(f"{path}: {key}: expected true or false")
    return value


def _names(path: Path, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise CheckpointError(f"{path}: modules_to_save: expected a list of names")
    return tuple(value)
