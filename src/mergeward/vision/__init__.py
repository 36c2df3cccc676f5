"""A CLIP image encoder, its preprocessing, and zero-shot heads made from class names."""

from mergeward.vision.clip import Clip, ClipEncoder, load_clip
from mergeward.vision.preprocess import Preprocessor, prepare
from mergeward.vision.surgery import SURGERY, repaired, surgery_files

__all__ = [
    "SURGERY",
    "Clip",
    "ClipEncoder",
    "Preprocessor",
    "load_clip",
    "prepare",
    "repaired",
    "surgery_files",
]
