"""The embedded default: a small real CLIP, and how it was pretrained."""

from mergeward.testbed.base import EMBEDDED, base_path, found_base, local_base
from mergeward.testbed.pretrain import PretrainConfig, pretrain

__all__ = ["EMBEDDED", "PretrainConfig", "base_path", "found_base", "local_base", "pretrain"]
