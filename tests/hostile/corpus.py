"""Bad model files, each made by a function from a folder to the path to open.

`python tests/hostile/corpus.py FOLDER` writes them all, one subfolder each, to try other programs on.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save, save_file

from hostile import case as cases
from hostile.case import Case, Make
from hostile.pickles import PICKLES

GOOD = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3)}
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def raw(content: bytes, name: str = WEIGHTS) -> Make:
    """A single file of these bytes."""
    return cases.raw(content, name)


def header(text: str, data: bytes = b"") -> Make:
    """A safetensors file with this header and this data."""
    encoded = text.encode()
    return raw(len(encoded).to_bytes(8, "little") + encoded + data)


def entry(dtype: str = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict[str, Any]:
    """One tensor of a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def tensors(entries: Mapping[str, object], data: bytes) -> Make:
    """A safetensors file with these header entries and this data."""
    return header(json.dumps(entries), data)


def claimed(size: int, length: int) -> Make:
    """A file of `length` bytes, all but the first eight holes, whose header claims `size` bytes."""

    def make(folder: Path) -> Path:
        with (folder / WEIGHTS).open("wb") as file:
            file.write(size.to_bytes(8, "little"))
            file.truncate(length)
        return folder / WEIGHTS

    return make


def value(number: float, dtype: torch.dtype) -> Make:
    """A well-formed file with one bad number among good ones."""
    bad = torch.ones(5, 7, dtype=dtype)
    bad[3, 4] = number
    return raw(save({"b": torch.ones(3), "w": bad}))


def indexed(weight_map: object, *, shards: Mapping[str, Mapping[str, torch.Tensor]] | None = None) -> Make:
    """A folder with this index, and these shards."""

    def make(folder: Path) -> Path:
        (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
        for name, part in (shards or {}).items():
            save_file(dict(part), folder / name)
        return folder

    return make


def beside(name: str, content: bytes) -> Make:
    """A folder with good weights and one bad file beside them."""

    def make(folder: Path) -> Path:
        save_file(GOOD, folder / WEIGHTS)
        (folder / name).write_bytes(content)
        return folder

    return make


def linked(name: str, target: str) -> Make:
    """A folder, beside another one with good files, in which one file is a link."""

    def make(folder: Path) -> Path:
        for inner in ("inside", "outside"):
            (folder / inner).mkdir()
            save_file(GOOD, folder / inner / WEIGHTS)
            (folder / inner / "config.json").write_text("{}")
        (folder / "inside" / name).unlink(missing_ok=True)
        (folder / "inside" / name).symlink_to(target)
        return folder / "inside"

    return make


def traversal(shard: str) -> Make:
    """A folder whose index names a shard elsewhere, which exists."""

    def make(folder: Path) -> Path:
        save_file(GOOD, folder / "outside.safetensors")
        inside = folder / "inside"
        inside.mkdir()
        name = shard.replace("{folder}", str(folder))
        (inside / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(GOOD, name)}))
        return inside

    return make


def pipe(name: str) -> Make:
    """A folder in which one file is a pipe that nobody writes to."""

    def make(folder: Path) -> Path:
        if name != WEIGHTS:
            save_file(GOOD, folder / WEIGHTS)
        os.mkfifo(folder / name)
        return folder

    return make


def folder_as_weights(folder: Path) -> Path:
    """A folder in the place of the weights."""
    (folder / WEIGHTS).mkdir()
    return folder


def zipped(folder: Path) -> Path:
    """What `torch.save` writes, under the name of a safetensors file."""
    with zipfile.ZipFile(folder / WEIGHTS, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    return folder / WEIGHTS


PICKLE = pickle.dumps({"w": [1.0]})
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
DEEP = "[" * 200_000
TWICE = '{"w":%s,"w":%s}' % ((json.dumps(entry()),) * 2)

CORPUS: dict[str, Case] = {
    "missing": Case(lambda folder: folder / "nothing", "nothing: no such file"),
    "empty-folder": Case(lambda folder: folder, "no model.safetensors"),
    "empty-file": Case(raw(b""), "model.safetensors: truncated"),
    "text": Case(raw(b"hello", "notes.txt"), "notes.txt: expected a folder"),
    "seven-bytes": Case(raw(b"\x01" + b"\0" * 6), "model.safetensors: truncated"),
    "header-of-2^62-bytes": Case(claimed(1 << 62, 64), "model.safetensors: truncated"),
    "header-of-2^64-bytes": Case(claimed((1 << 64) - 1, 64), "model.safetensors: truncated"),
    "header-over-16-MB": Case(
        claimed(20_000_001, 200_000_000), "model.safetensors: its header claims 20000001"
    ),
    "header-of-holes": Case(claimed(64, 128), "model.safetensors: not a whole safetensors file"),
    "header-no-json": Case(header("{nonsense"), "model.safetensors: not a whole safetensors file"),
    "header-list": Case(header("[]"), "model.safetensors: not a whole safetensors file"),
    "header-deep": Case(header('{"w":' + DEEP), "model.safetensors: not a whole safetensors file"),
    "header-no-utf8": Case(raw(b"\x04" + b"\0" * 7 + b"{\xff\xfe}"), "model.safetensors: not a whole"),
    "truncated-data": Case(raw(save(GOOD)[:-1]), "model.safetensors: not a whole safetensors file"),
    "truncated-header": Case(raw(save(GOOD)[:40]), "model.safetensors: truncated"),
    "trailing-data": Case(raw(save(GOOD) + b"\0"), "model.safetensors: not a whole safetensors file"),
    "tensor-twice": Case(header(TWICE, b"\0" * 4), "model.safetensors: (key 'w' appears twice|not a whole)"),
    "metadata-twice": Case(
        header(f'{{"__metadata__":{{"a":"1","a":"2"}},"w":{json.dumps(entry())}}}', b"\0" * 4),
        "model.safetensors: (key 'a' appears twice|not a whole)",
    ),
    "metadata-no-text": Case(
        tensors({"__metadata__": {"a": 1}, "w": entry()}, b"\0" * 4), "model.safetensors: not a whole"
    ),
    "offsets-overlap": Case(
        tensors({"a": entry(), "w": entry(offsets=(2, 6))}, b"\0" * 6), "model.safetensors: not a whole"
    ),
    "offsets-same-bytes": Case(
        tensors({"a": entry(), "w": entry()}, b"\0" * 4), "model.safetensors: not a whole"
    ),
    "offsets-hole": Case(
        tensors({"a": entry(), "w": entry(offsets=(8, 12))}, b"\0" * 12), "model.safetensors: not a whole"
    ),
    "offsets-beyond": Case(
        tensors({"w": entry(offsets=(0, 400))}, b"\0" * 4), "model.safetensors: not a whole"
    ),
    "offsets-backwards": Case(
        tensors({"w": entry(offsets=(4, 0))}, b"\0" * 4), "model.safetensors: not a whole"
    ),
    "offsets-negative": Case(
        tensors({"w": entry(offsets=(-4, 0))}, b"\0" * 4), "model.safetensors: not a whole"
    ),
    "shape-too-large": Case(tensors({"w": entry(shape=(100,))}, b"\0" * 4), "model.safetensors: not a whole"),
    "shape-overflows": Case(
        tensors({"w": entry(shape=(1 << 40, 1 << 40))}, b"\0" * 4), "model.safetensors: not a whole"
    ),
    "shape-negative": Case(tensors({"w": entry(shape=(-1,))}, b"\0" * 4), "model.safetensors: not a whole"),
    "dtype-unknown": Case(tensors({"w": entry("F33")}, b"\0" * 4), "model.safetensors: not a whole"),
    "dtype-float8": Case(
        tensors({"w": entry("F8_E4M3", (4,))}, b"\0" * 4),
        "model.safetensors: tensor 'w' is F8_E4M3; expected",
    ),
    "nan": Case(value(float("nan"), torch.float32), "model.safetensors: tensor 'w' holds NaN", on_read=True),
    "infinity": Case(value(float("inf"), torch.float16), "model.safetensors: tensor 'w' holds", on_read=True),
    "minus-infinity": Case(
        value(float("-inf"), torch.bfloat16), "model.safetensors: tensor 'w'", on_read=True
    ),
    "nan-float64": Case(value(float("nan"), torch.float64), "model.safetensors: tensor 'w'", on_read=True),
    **{
        f"pickle{suffix}": Case(raw(PICKLE, f"weights{suffix}"), f"weights\\{suffix}: pickle")
        for suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".BIN")
    },
    "pickle-renamed": Case(raw(PICKLE), "model.safetensors: a pickle under another name"),
    "zip-renamed": Case(zipped, "model.safetensors: a pickle under another name"),
    "pickle-folder": Case(
        lambda folder: raw(PICKLE, "pytorch_model.bin")(folder).parent, "pytorch_model.bin: pickle.*convert"
    ),
    "pickle-shard": Case(indexed({"w": "pytorch_model.bin"}), "pytorch_model.bin: pickle"),
    "lfs-pointer": Case(raw(LFS), "model.safetensors: a Git-LFS pointer"),
    "lfs-config": Case(beside("config.json", LFS), "config.json: a Git-LFS pointer"),
    "config-no-json": Case(beside("config.json", b"{"), "config.json: not readable as JSON"),
    "config-list": Case(beside("config.json", b"[]"), "config.json: expected a JSON object"),
    "config-deep": Case(beside("config.json", DEEP.encode()), "config.json: not readable as JSON"),
    "config-binary": Case(beside("config.json", b"\xff\xfe"), "config.json: not readable as JSON"),
    "config-twice": Case(beside("config.json", b'{"a":1,"a":2}'), "config.json: key 'a' appears twice"),
    "config-link": Case(
        linked("config.json", "../outside/config.json"), "config.json: a link out of its folder"
    ),
    "weights-link": Case(linked(WEIGHTS, "../outside/model.safetensors"), "model.safetensors: a link out"),
    "weights-link-device": Case(linked(WEIGHTS, "/dev/zero"), "model.safetensors: a link out of its folder"),
    "weights-link-to-nothing": Case(linked(WEIGHTS, "gone.safetensors"), "model.safetensors: no such file"),
    "weights-link-loop": Case(linked(WEIGHTS, WEIGHTS), "model.safetensors: a link that leads nowhere"),
    "weights-folder": Case(folder_as_weights, "model.safetensors: not a regular file"),
    "weights-pipe": Case(pipe(WEIGHTS), "model.safetensors: not a regular file"),
    "config-pipe": Case(pipe("config.json"), "config.json: not a regular file"),
    "shard-up": Case(
        traversal("../outside.safetensors"), r"inside: file name '\.\./outside\.safetensors' may"
    ),
    "shard-absolute": Case(traversal("{folder}/outside.safetensors"), "inside: file name '/.*' may lead out"),
    "shard-backslash": Case(traversal("..\\outside.safetensors"), "inside: file name .* may lead out"),
    "shard-drive": Case(traversal("C:outside.safetensors"), "inside: file name .* may lead out"),
    "shard-nul": Case(traversal("a\0.safetensors"), "inside: file name .* may lead out"),
    "shard-dots": Case(traversal(".."), "inside: file name .* may lead out"),
    "shard-unnamed": Case(traversal(""), "inside: file name '' may lead out"),
    "shard-missing": Case(indexed({"w": "gone.safetensors"}), "gone.safetensors: no such file"),
    "shard-text": Case(
        indexed({"w": "config.json"}), "index.json: shard 'config.json' is not a .safetensors"
    ),
    "shard-number": Case(indexed({"w": 1}), r"index.json: weight_map\['w'\] is not the name"),
    "shard-with-more": Case(
        indexed({"w": "a.safetensors"}, shards={"a.safetensors": GOOD}),
        "a.safetensors: tensor 'b' is in the file and not in the index",
    ),
    "shard-with-less": Case(
        indexed(dict.fromkeys("wbx", "a.safetensors"), shards={"a.safetensors": GOOD}),
        "a.safetensors: tensor 'x' is in the index and not in the file",
    ),
    "shards-with-the-same": Case(
        indexed(
            {"w": "a.safetensors", "b": "b.safetensors"},
            shards={"a.safetensors": GOOD, "b.safetensors": {"b": GOOD["b"]}},
        ),
        "a.safetensors: tensor 'b' is in the file and not in the index",
    ),
    "json-many-values": Case(
        lambda folder: raw(b'{"weight_map":[' + b"[]," * 3_000_000 + b"[]]}", INDEX)(folder).parent,
        "index.json: more than [0-9]+ values",
    ),
    "config-large": Case(beside("config.json", b" " * 20_000_000), "config.json: larger than"),
    "header-of-sixty-million-spaces": Case(
        header(" " * 60_000_000), "model.safetensors: its header claims 60000000"
    ),
    "header-many-tensors": Case(
        header(
            "{"
            + ",".join(f'"{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for i in range(240_000))
            + "}"
        ),
        "model.safetensors: more than [0-9]+ values",
    ),
    "shape-of-a-terabyte": Case(
        tensors({"w": entry("U8", (1 << 40,), (0, 1 << 40))}, b"\0" * 8), "model.safetensors: not a whole"
    ),
    "index-empty": Case(indexed({}), "index.json: no weight_map"),
    "index-list": Case(indexed(["w"]), "index.json: no weight_map"),
    "index-no-json": Case(lambda folder: raw(b"{", INDEX)(folder).parent, "index.json: not readable as JSON"),
    "index-twice": Case(
        lambda folder: raw(b'{"weight_map":{"w":"a","w":"b"}}', INDEX)(folder).parent,
        "index.json: key 'w' appears twice",
    ),
}


BASE = {"q_proj.weight": torch.ones(4, 3), "q_proj.bias": torch.ones(4)}
LORA = {
    "base_model.model.q_proj.lora_A.weight": torch.ones(2, 3),
    "base_model.model.q_proj.lora_B.weight": torch.ones(4, 2),
}
LORA_CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}


def adapter(config: object, weights: Mapping[str, torch.Tensor] = LORA) -> Make:
    """An adapter with these settings and these tensors."""

    def make(folder: Path) -> Path:
        content = config if isinstance(config, bytes) else json.dumps(config).encode()
        (folder / "adapter_config.json").write_bytes(content)
        save_file(dict(weights), folder / "adapter_model.safetensors")
        return folder

    return make


def adapter_link(folder: Path) -> Path:
    """An adapter whose weights lie elsewhere."""
    (folder / "inside").mkdir()
    adapter(LORA_CONFIG)(folder / "inside")
    (folder / "inside" / "adapter_model.safetensors").rename(folder / "outside.safetensors")
    (folder / "inside" / "adapter_model.safetensors").symlink_to("../outside.safetensors")
    return folder / "inside"


def adapter_pickle(folder: Path) -> Path:
    """An adapter whose weights are a pickle."""
    adapter(LORA_CONFIG)(folder)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    return folder


def lora(**changed: object) -> dict[str, object]:
    """Settings of an adapter, some of them changed."""
    return {**LORA_CONFIG, **changed}


ADAPTERS: dict[str, Case] = {
    f"adapter-{name}": Case(make, message, opener="adapter")
    for name, make, message in [
        ("config-no-json", adapter(b"{"), "adapter_config.json: not readable as JSON"),
        ("config-list", adapter([]), "adapter_config.json: expected a JSON object"),
        ("config-twice", adapter(b'{"r":1,"r":2}'), "adapter_config.json: key 'r' appears twice"),
        ("config-large", adapter(b" " * 20_000_000 + b"{}"), "adapter_config.json: larger than"),
        ("config-deep", adapter(DEEP.encode()), "adapter_config.json: not readable as JSON"),
        ("kind", adapter(lora(peft_type=["LORA"])), "peft_type is"),
        ("rank-huge", adapter(lora(r=10**300)), "factors of rank 2 and 2"),
        ("rank-negative", adapter(lora(r=-1)), "r: expected a whole number above 0"),
        ("rank-fraction", adapter(lora(r=1.5)), "r: expected a whole number"),
        ("rank-true", adapter(lora(r=True)), "r: expected a whole number"),
        ("alpha-nan", adapter(lora(lora_alpha=float("nan"))), "lora_alpha: expected a number"),
        ("alpha-huge", adapter(lora(lora_alpha=10**400)), "lora_alpha: expected a number"),
        ("alpha-text", adapter(lora(lora_alpha="4")), "lora_alpha: expected a number"),
        ("pattern-expression", adapter(lora(rank_pattern={"(.*a){25}": 2})), "is no plain name"),
        ("pattern-list", adapter(lora(alpha_pattern=[1])), "alpha_pattern: expected an object"),
        ("flag-text", adapter(lora(use_rslora="false")), "use_rslora: expected true or false"),
        ("saved-text", adapter(lora(modules_to_save="q_proj")), "modules_to_save: expected a list"),
        ("unknown", adapter(lora(**{"k" * 10_000: 1})), "a setting that is not known"),
        ("key-prefix", adapter(LORA_CONFIG, {"q_proj.weight": torch.ones(4, 3)}), "expected a name under"),
        ("key-path", adapter(LORA_CONFIG, {"base_model.model.../x": torch.ones(1)}), "no tensor '../x' in"),
        ("link", adapter_link, "adapter_model.safetensors: a link out of its folder"),
        ("pickle", adapter_pickle, "adapter_model.safetensors: no such file"),
    ]
}

CORPUS |= PICKLES | ADAPTERS


def write_corpus(folder: Path) -> None:
    """Write every case into its own subfolder."""
    for name, case in CORPUS.items():
        (folder / name).mkdir(parents=True)
        case.make(folder / name)


if __name__ == "__main__":
    write_corpus(Path(sys.argv[1]))
