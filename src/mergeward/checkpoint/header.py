"""The header of a safetensors file: what the library's parser lets pass and we do not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from mergeward.checkpoint.files import CONVERT, check_json_size, first_bytes, parse_json_object, regular_file
from mergeward.checkpoint.source import TensorInfo
from mergeward.errors import CheckpointError

MAX_HEADER_BYTES = 1 << 24

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Types of tensors that are read and written, as safetensors spells them."""


@dataclass(frozen=True)
class OpenFile:
    """One safetensors file that passed every check.

    Attributes:
        path: The file.
        handle: The library's handle on it.
        tensors: Its tensors by name, in the order of their bytes.
        metadata: The free-text part of its header.
    """

    path: Path
    handle: Any
    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]


def open_safetensors(path: Path) -> OpenFile:
    """Open one safetensors file; no tensor is read.

    The library's parser checks that the offsets cover the file without gap or overlap and fit the shapes.
    Beyond that, a header that names a tensor twice is refused.

    Raises:
        CheckpointError: The file is missing, truncated, malformed, not safetensors, or of a type that is not
            supported.
    """
    regular_file(path, expected="a .safetensors file")
    header = _header_bytes(path)
    check_json_size(header, where=path)
    try:
        handle: Any = safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError, ValueError, OverflowError, MemoryError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({_one_line(error)})") from error
    content = parse_json_object(header, where=path)
    metadata = content.pop("__metadata__", None) or {}
    entries = sorted(content.items(), key=lambda item: tuple(item[1]["data_offsets"]))
    tensors = {name: _info(path, name, entry) for name, entry in entries}
    return OpenFile(path, handle, tensors, metadata)


def _header_bytes(path: Path) -> bytes:
    prefix = first_bytes(path, 8)
    size = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or size + 8 > path.stat().st_size:
        # Only now: a header of 128 bytes, or 384, begins with the byte that a pickle does.
        if prefix[:4] == b"PK\x03\x04" or prefix[:1] == b"\x80":
            raise CheckpointError(f"{path}: a pickle under another name; {CONVERT}")
        raise CheckpointError(f"{path}: truncated, or not a safetensors file")
    if size > MAX_HEADER_BYTES:
        raise CheckpointError(f"{path}: its header claims {size} bytes; at most {MAX_HEADER_BYTES} are read")
    return first_bytes(path, 8 + size)[8:]


def _info(path: Path, name: str, entry: dict[str, Any]) -> TensorInfo:
    if entry["dtype"] not in DTYPES:
        raise CheckpointError(
            f"{path}: tensor {name!r} is {entry['dtype']}; expected one of {', '.join(DTYPES)}"
        )
    start, end = entry["data_offsets"]
    return TensorInfo(tuple(entry["shape"]), DTYPES[entry["dtype"]], path.name, end - start)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
