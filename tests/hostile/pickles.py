"""Bad files of `torch.save`, put together by hand."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hostile.case import Case, Make, raw


def text(value: str) -> bytes:
    """A pickle's instruction for some text."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def numbers(values: tuple[int, ...]) -> bytes:
    """A pickle's instructions for a tuple of numbers."""
    return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"


def tensor(
    *,
    key: str = "0",
    kind: str = "FloatStorage",
    numel: int = 4,
    offset: int = 0,
    shape: tuple[int, ...] = (4,),
    stride: tuple[int, ...] = (1,),
) -> bytes:
    """A pickle's instructions for one tensor."""
    storage = b"(%sctorch\n%s\n%s%sI%d\ntQ" % (text("storage"), kind.encode(), text(key), text("cpu"), numel)
    place = b"I%d\n" % offset + numbers(shape) + numbers(stride)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + place + b"\x89ccollections\nOrderedDict\n)RtR"


def pickled(*values: bytes) -> bytes:
    """A pickle of a state dict with these values."""
    return b"\x80\x02}" + b"".join(text(f"w{i}") + value + b"s" for i, value in enumerate(values)) + b"."


def archive(content: bytes, storages: Mapping[str, bytes] | None = None, **parts: bytes) -> bytes:
    """The bytes of a zip as `torch.save` writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", content)
        for key, value in ({"0": b"\0" * 16} if storages is None else storages).items():
            file.writestr(f"archive/data/{key}", value)
        for name, value in parts.items():
            file.writestr(f"archive/{name.replace('_', '.')}", value)
    return buffer.getvalue()


def zipped(content: bytes, storages: Mapping[str, bytes] | None = None, **parts: bytes) -> Make:
    """A file of `torch.save` with this pickle and these storages."""
    return raw(archive(content, storages, **parts), "model.pt")


def named(module: str, name: str) -> Make:
    """A file whose pickle calls what it names."""
    return zipped(b"\x80\x02c%s\n%s\n%s\x85R." % (module.encode(), name.encode(), text("touch owned")))


class _Command:
    def __reduce__(self) -> Any:
        return os.system, ("touch owned",)


def deflated(folder: Path) -> Path:
    """A zip bomb: a storage of a gigabyte of zeros in a megabyte."""
    with zipfile.ZipFile(folder / "model.pt", "w") as file:
        file.writestr("archive/data.pkl", pickled(tensor(numel=1 << 28, shape=(1 << 28,))))
        with file.open(zipfile.ZipInfo("archive/data/0"), "w") as stored:
            stored.write(b"")
        part = zipfile.ZipInfo("archive/data/1")
        part.compress_type = zipfile.ZIP_DEFLATED
        file.writestr(part, b"\0" * (1 << 24))
    return folder / "model.pt"


def overlapping(folder: Path) -> Path:
    """A zip whose table of contents gives the bytes of one storage to two."""
    content = bytearray(archive(pickled(tensor()), {"0": b"\0" * 16, "1": b"\0" * 16}))
    entries = [at for at in range(len(content)) if content[at : at + 4] == b"PK\x01\x02"]
    content[entries[2] + 42 : entries[2] + 46] = content[entries[1] + 42 : entries[1] + 46]
    (folder / "model.pt").write_bytes(content)
    return folder / "model.pt"


def claimed_directory(folder: Path) -> Path:
    """A sparse file of four gigabytes that is said to be a table of contents."""
    size = 4_000_000_000
    with (folder / "model.pt").open("wb") as file:
        file.write(b"PK\x03\x04")
        file.seek(size)
        file.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, size - 8, 4, 0))
    return folder / "model.pt"


def old(*pickles: object, data: bytes = b"", magic: int = 0x1950A86A20F9469CFC6C) -> Make:
    """A file in the old format of `torch.save`."""
    system = {"protocol_version": 1001, "little_endian": True}
    start = b"".join(pickle.dumps(value, 2) for value in (magic, 1001, system))
    parts = [value if isinstance(value, bytes) else pickle.dumps(value, 2) for value in pickles]
    return raw(start + b"".join(parts) + data, "model.pt")


def endless() -> bytes:
    """A module that holds itself."""
    return b"\x80\x02csrc.modeling\nPart\n)\x81q\0}" + text("_modules") + b"}" + text("a") + b"h\0ssb."


def doubling(depth: int) -> bytes:
    """Modules that each hold the next one twice: 2 ** depth names from a few bytes."""
    new = b"csrc.modeling\nPart\n)\x81"
    levels = [b"\x80\x02" + new + b"q\0"]
    for level in range(depth):
        inner = b"h" + bytes([level])
        parts = b"}" + text("a") + inner + b"s" + text("b") + inner + b"s"
        levels.append(b"0" + new + b"}" + text("_modules") + parts + b"sbq" + bytes([level + 1]))
    return b"".join(levels) + b"."


def nested_key(depth: int) -> bytes:
    """A tuple of tuples as a key: its hash would take the stack, or with two parts each, for ever."""
    return b"\x80\x02})" + b"\x85" * depth + b"Ns."


NAN = struct.pack("<4f", 1, 2, float("nan"), 3)
SHARED = pickled(*[tensor(numel=1 << 16, shape=(1 << 16,)) for _ in range(50)])
WHOLE = "model.pt: no checkpoint of torch.save that can be read"
ZIP = "model.pt: not a whole file of torch.save"

PICKLES: dict[str, Case] = {
    **{
        f"legacy-names-{module}.{name}": Case(
            named(module, name), f"names {module}.{name}, which", opener="legacy"
        )
        for module, name in [
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("builtins", "getattr"),
            ("__builtin__", "exec"),
            ("torch", "load"),
            ("torch.hub", "load"),
            ("torch.serialization", "load"),
            ("torch.storage", "_load_from_bytes"),
            ("torch._utils", "_rebuild_qtensor"),
            ("torch.nn", "modules.module.os.system"),
            ("open_clip_evil", "model"),
            ("srcs.modeling", "ImageEncoder"),
            ("numpy.core.multiarray", "_reconstruct"),
        ]
    },
    "legacy-reduce": Case(zipped(pickle.dumps(_Command(), 4)), "names posix.system", opener="legacy"),
    "legacy-reduce-old": Case(
        raw(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(_Command(), 2), "model.pt"),
        "names posix.system",
        opener="legacy",
    ),
    "legacy-missing": Case(lambda folder: folder / "gone.pt", "gone.pt: no such file", opener="legacy"),
    "legacy-folder": Case(lambda folder: folder, "not a regular file", opener="legacy"),
    "legacy-empty": Case(raw(b"", "model.pt"), WHOLE, opener="legacy"),
    "legacy-text": Case(raw(b"<html>not found</html>", "model.pt"), WHOLE, opener="legacy"),
    "legacy-plain-pickle": Case(raw(pickle.dumps({"w": 1}), "model.pt"), WHOLE, opener="legacy"),
    "legacy-no-tensor": Case(zipped(b"\x80\x02}."), f"{WHOLE} .it holds neither", opener="legacy"),
    "legacy-no-state": Case(zipped(pickled(b"I1\n")), f"{WHOLE} .entry 'w0' is no tensor", opener="legacy"),
    "legacy-cut-short": Case(zipped(pickled(tensor())[:-3]), WHOLE, opener="legacy"),
    "legacy-stack": Case(zipped(b"\x80\x02tt."), "takes a value where there is none", opener="legacy"),
    "legacy-extension": Case(zipped(b"\x80\x02\x82\x01."), f"{WHOLE} .instruction EXT1", opener="legacy"),
    "legacy-call-of-text": Case(zipped(b"\x80\x02X\x01\0\0\0a)R."), "a call of str", opener="legacy"),
    "legacy-odd-escape": Case(zipped(b"S'\\w'\n."), "it holds neither", opener="legacy"),
    "legacy-deep-key": Case(zipped(nested_key(200_000)), "a key that is no text", opener="legacy"),
    "legacy-deep-list": Case(
        zipped(b"\x80\x02" + b"]" * 90_000 + b"a" * 89_999 + b"."), "it holds neither", opener="legacy"
    ),
    "legacy-memo": Case(zipped(b"\x80\x02}r\xff\xff\xff\x7f."), "it holds neither", opener="legacy"),
    "legacy-claims-text": Case(zipped(b"\x80\x04\x8d" + b"\xff" * 7 + b"\x0fa."), WHOLE, opener="legacy"),
    "legacy-instructions": Case(
        zipped(b"\x80\x02" + b"}0" * 400_000 + b"}."), "instructions", opener="legacy"
    ),
    "legacy-sets": Case(zipped(b"\x80\x04" + b"\x8f" * 600_000 + b"."), "instructions", opener="legacy"),
    "legacy-long-pickle": Case(
        zipped(b"\x80\x02}" + b"\0" * (1 << 24)), "a pickle of more than", opener="legacy"
    ),
    "legacy-module-in-itself": Case(zipped(endless()), "hold one another without end", opener="legacy"),
    "legacy-modules-doubling": Case(zipped(doubling(60)), "hold one another without end", opener="legacy"),
    "legacy-storage-missing": Case(
        zipped(pickled(tensor(key="7"))), "storage '7' of 16 bytes", opener="legacy"
    ),
    "legacy-storage-short": Case(
        zipped(pickled(tensor()), {"0": b"\0" * 8}), "storage '0' of 16 bytes is not", opener="legacy"
    ),
    "legacy-storage-path": Case(
        zipped(pickled(tensor(key="../../etc"))), "is not in the file", opener="legacy"
    ),
    "legacy-storage-two-forms": Case(
        zipped(pickled(tensor(), tensor(numel=2, shape=(2,)))), "storage '0' of two forms", opener="legacy"
    ),
    "legacy-storage-type": Case(zipped(pickled(tensor(kind="load"))), "names torch.load", opener="legacy"),
    "legacy-tensor-beyond": Case(
        zipped(pickled(tensor(offset=1))), r"shape \[4\] in a storage of 4", opener="legacy"
    ),
    "legacy-tensor-negative": Case(zipped(pickled(tensor(offset=-1))), "of unknown form", opener="legacy"),
    "legacy-tensor-negative-stride": Case(
        zipped(pickled(tensor(stride=(-1,)))), "unknown form", opener="legacy"
    ),
    "legacy-tensor-repeated": Case(
        zipped(pickled(tensor(shape=(1 << 40,), stride=(0,)))), "in a storage of 4 values", opener="legacy"
    ),
    "legacy-tensor-huge": Case(
        zipped(pickled(tensor(shape=(1 << 40, 1 << 40), stride=(0, 0)))),
        "more values than any",
        opener="legacy",
    ),
    "legacy-tensor-huge-number": Case(
        zipped(pickled(tensor(shape=(1 << 200,), stride=(0,)))), "of unknown form", opener="legacy"
    ),
    "legacy-tensor-of-text": Case(
        zipped(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + text("w") + b"\x85R."),
        "unknown form",
        opener="legacy",
    ),
    "legacy-tensor-dimensions": Case(
        zipped(pickled(tensor(shape=(1,) * 99, stride=(1,) * 99))), "of 99 dimensions", opener="legacy"
    ),
    "legacy-tensors-shared": Case(
        zipped(SHARED, {"0": b"\0" * (4 << 16)}), "tensors of 13107200 bytes in a file", opener="legacy"
    ),
    "legacy-nan": Case(
        zipped(pickled(tensor()), {"0": NAN}),
        "model.pt: tensor 'w0' holds NaN",
        on_read=True,
        opener="legacy",
    ),
    "legacy-zip-cut-short": Case(raw(archive(pickled(tensor()))[:-9], "model.pt"), ZIP, opener="legacy"),
    "legacy-zip-deflated": Case(deflated, "'archive/data/1' is compressed", opener="legacy"),
    "legacy-zip-overlapping": Case(overlapping, "lies over another part", opener="legacy"),
    "legacy-zip-directory": Case(claimed_directory, "a table of contents of more than", opener="legacy"),
    "legacy-zip-big-endian": Case(
        zipped(pickled(tensor()), byteorder=b"big"), "not in little-endian order", opener="legacy"
    ),
    "legacy-zip-torchscript": Case(
        zipped(pickled(tensor()), constants_pkl=b"\x80\x02)."), "a TorchScript program", opener="legacy"
    ),
    "legacy-zip-without-pickle": Case(
        raw(archive(b"").replace(b"data.pkl", b"data.pkx"), "model.pt"), "no data.pkl in it", opener="legacy"
    ),
    "legacy-old-magic": Case(old(pickled(), [], magic=1), "it does not begin as one", opener="legacy"),
    "legacy-old-keys": Case(old(pickled(tensor()), {}), "no list of its storages", opener="legacy"),
    "legacy-old-cut-short": Case(
        old(pickled(tensor()), ["0"], data=struct.pack("<q", 4) + b"\0" * 15),
        "is not in the file",
        opener="legacy",
    ),
    "legacy-old-length": Case(
        old(pickled(tensor()), ["0"], data=struct.pack("<q", 5) + b"\0" * 16),
        "not as long as",
        opener="legacy",
    ),
    "legacy-old-key-unknown": Case(
        old(pickled(tensor()), ["1"], data=struct.pack("<q", 4) + b"\0" * 16),
        "not as long as",
        opener="legacy",
    ),
}


def good(*, as_zip: bool) -> bytes:
    """A file that is what it should be, with the tensors of the corpus's good files."""
    buffer = io.BytesIO()
    state = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3)}
    torch.save(state, buffer, _use_new_zipfile_serialization=as_zip)
    return buffer.getvalue()
