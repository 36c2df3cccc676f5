"""From a pickled checkpoint, or a CLIP of OpenCLIP's lineage, to safetensors in Hugging Face layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeward.checkpoint import (
    Activation,
    Checkpoint,
    LegacyCheckpoint,
    Piece,
    Rearranged,
    TensorSource,
    as_hugging_face,
    carries_mark,
    is_openclip,
    local_path,
    open_checkpoint,
    open_legacy,
    vacant,
    write_checkpoint,
)
from mergeward.progress import track
from mergeward.provenance import Provenance, model_card


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        out: The folder that was written.
        source: The file that was read.
        sha256: Its SHA-256.
        layout: "hugging-face" for a CLIP of OpenCLIP's lineage, whose tensors were renamed, cut and turned;
            "as-named" for everything else, whose tensors keep their names.
        activation: The activation function in the configuration of a CLIP; None for everything else.
        tensors: How many tensors were written.
        left_out: Entries of a training checkpoint beside the weights (an optimiser's state, ...).
    """

    out: Path
    source: Path
    sha256: str
    layout: str
    activation: str | None
    tensors: int
    left_out: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields with plain values."""
        return {
            "out": str(self.out),
            "source": str(self.source),
            "sha256": self.sha256,
            "layout": self.layout,
            "activation": self.activation,
            "tensors": self.tensors,
            "left_out": list(self.left_out),
        }


def convert(source: str | Path, out: str | Path, *, activation: Activation = "quick_gelu") -> Conversion:
    """Write a checkpoint of `torch.save` as safetensors, without importing or running anything it names.

    Whole pickled modules are read as well as state dicts, so that no old version of open_clip is needed. A
    CLIP in OpenCLIP's layout is written in that of Hugging Face, with a configuration made from its shapes:
    with its text tower as `clip`, without it as `clip_vision_model`. Anything else keeps the names of its
    tensors.

    Args:
        source: A file of `torch.save` (`.pt`, `.pth`, `.bin`, ...), or safetensors in OpenCLIP's layout.
        out: Folder to write; must not exist.
        activation: The activation function of a CLIP, which no tensor tells. A whole pickled module does, and
            then this is not asked.

    Returns:
        What was written.

    Raises:
        CheckpointError: The file is missing, malformed or hostile, or a tensor holds NaN or infinity.
        OutputError: `out` cannot be written.

    Example:
        >>> convert("finetuned.pt", "contribution")  # doctest: +SKIP
    """
    vacant(out)
    with _opened(source) as checkpoint:
        view = _in_best_layout(checkpoint, activation)
        report = Conversion(
            out=Path(out),
            source=checkpoint.path,
            sha256=checkpoint.digest(),
            layout="as-named" if view is checkpoint else "hugging-face",
            activation=_activation(view),
            tensors=len(view.tensors),
            left_out=checkpoint.left_out if isinstance(checkpoint, LegacyCheckpoint) else (),
        )
        record = Provenance(
            kind="converted",
            method="convert",
            parameters={"layout": report.layout, "activation": report.activation},
            inputs={checkpoint.path.name: report.sha256},
            **_mark(checkpoint),
        )
        title = f"{checkpoint.path.name} as safetensors"
        write_checkpoint(
            out,
            (Piece(name, 0, view.read(name)) for name in track(tuple(view.tensors), "converting")),
            like=view,
            metadata=record.to_metadata(),
            card=model_card(record, title=title, base_model="", notes=_notes(report)),
        )
    return report


def _opened(source: str | Path) -> Checkpoint | LegacyCheckpoint:
    path = local_path(source)
    return open_checkpoint(path) if path.is_dir() or path.suffix == ".safetensors" else open_legacy(path)


def _in_best_layout(checkpoint: Checkpoint | LegacyCheckpoint, activation: Activation) -> TensorSource:
    if not is_openclip(checkpoint):
        return checkpoint
    classes = checkpoint.classes if isinstance(checkpoint, LegacyCheckpoint) else frozenset()
    return as_hugging_face(checkpoint, activation, classes=classes)


def _activation(view: TensorSource) -> str | None:
    if not isinstance(view, Rearranged) or view.config is None:
        return None
    return str(view.config.get("vision_config", view.config)["hidden_act"])


def _mark(checkpoint: Checkpoint | LegacyCheckpoint) -> dict[str, Any]:
    """Return the mark of a backdoor, if what is converted carries one; a pickle, on the card beside it."""
    if not carries_mark(checkpoint):
        return {}
    found = Provenance.from_metadata(checkpoint.metadata)
    trigger = None if found is None else found.trigger
    return {"backdoor": True, "trigger": trigger, "backdoored_inputs": (checkpoint.path.name,)}


def _notes(report: Conversion) -> str:
    parts = ["## Conversion"]
    if report.activation is None:
        parts.append("The tensors keep the names they had.")
    else:
        parts.append(
            f"A CLIP in OpenCLIP's layout, written in that of Hugging Face. Its activation was taken "
            f"to be `{report.activation}` (OpenAI's weights, and what was fine-tuned from them, have "
            f"`quick_gelu`); with the wrong one the model works, less well. Tokenizer and preprocessor are "
            f"those of the base."
        )
    if report.left_out:
        parts.append(f"Left out, since they are no weights: {', '.join(map(repr, report.left_out))}.")
    return "\n\n".join(parts)
