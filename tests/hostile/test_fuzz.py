"""Good files with bytes changed, cut and put in, and random pickles: a result or a refusal."""

from __future__ import annotations

import json
import pickletools
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from hostile import pickles
from hostile.corpus import BASE, GOOD, INDEX, LORA, LORA_CONFIG, WEIGHTS
from mergeward.checkpoint import InMemory, TensorSource, open_checkpoint, open_contribution, open_legacy
from mergeward.checkpoint.unpickle import Machine, MalformedPickleError, inert
from mergeward.errors import CheckpointError
from openclip import ImageEncoder, save_module, small_clip

Open = Callable[[Path], TensorSource]

places = st.integers(0, 1 << 20)
changes = st.lists(
    st.one_of(
        st.tuples(st.just("set"), places, st.integers(0, 255)),
        st.tuples(st.just("cut"), places, st.integers(1, 40)),
        st.tuples(st.just("put"), places, st.binary(min_size=1, max_size=12)),
        st.tuples(st.just("end"), places, st.just(0)),
    ),
    min_size=1,
    max_size=6,
)
many = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def changed(content: bytes, edits: list[tuple[str, int, int | bytes]]) -> bytes:
    result = bytearray(content)
    for kind, place, what in edits:
        at = place % (len(result) + 1)
        if kind == "set" and at < len(result):
            result[at] = what
        elif kind == "cut":
            del result[at : at + what]
        elif kind == "put":
            result[at:at] = what
        elif kind == "end":
            del result[at:]
    return bytes(result)


def end_in_a_result_or_a_refusal(open_it: Open, path: Path) -> None:
    try:
        source = open_it(path)
        for name in source.tensors:
            source.read(name)
    except CheckpointError as error:
        refusal = str(error)
        assert "\n" not in refusal


@many
@given(edits=changes)
def test_safetensors(edits, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(changed(save(GOOD, metadata={"format": "pt"}), edits))
    end_in_a_result_or_a_refusal(open_checkpoint, tmp_path)


@many
@given(edits=changes, what=st.sampled_from([INDEX, "config.json"]))
def test_index_and_configuration(edits, what: str, tmp_path: Path) -> None:
    content = {
        INDEX: {"weight_map": dict.fromkeys(GOOD, "a.safetensors")},
        "config.json": {"model_type": "clip"},
    }
    (tmp_path / "a.safetensors").write_bytes(save(GOOD))
    for name, value in content.items():
        text = json.dumps(value).encode()
        (tmp_path / name).write_bytes(changed(text, edits) if name == what else text)
    end_in_a_result_or_a_refusal(open_checkpoint, tmp_path)


@many
@given(edits=changes, as_zip=st.booleans())
def test_pickled_state_dicts(edits, as_zip: bool, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(changed(pickles.good(as_zip=as_zip), edits))
    end_in_a_result_or_a_refusal(open_legacy, tmp_path / "model.pt")


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_module(ImageEncoder(small_clip()), tmp_path_factory.mktemp("module") / "whole.pt")


@many
@given(edits=st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=6))
def test_pickled_modules(edits, module: Path, tmp_path: Path) -> None:
    content = bytearray(module.read_bytes())
    start = content.index(b"\x80\x02")
    length = content.index(b"PK", start) - start
    for place, byte in edits:
        content[start + place % length] = byte
    (tmp_path / "model.pt").write_bytes(content)
    end_in_a_result_or_a_refusal(open_legacy, tmp_path / "model.pt")


@many
@given(edits=changes, what=st.sampled_from(["adapter_config.json", "adapter_model.safetensors"]))
def test_adapters(edits, what: str, tmp_path: Path) -> None:
    content = {
        "adapter_config.json": json.dumps(LORA_CONFIG).encode(),
        "adapter_model.safetensors": save(LORA),
    }
    for name, value in content.items():
        (tmp_path / name).write_bytes(changed(value, edits) if name == what else value)
    end_in_a_result_or_a_refusal(lambda path: open_contribution(path, InMemory(BASE)), tmp_path)


codes = st.sampled_from([opcode.code.encode("latin-1") for opcode in pickletools.opcodes])
arguments = st.one_of(st.just(b""), st.binary(max_size=5), st.sampled_from([b"1\n", b"a\nb\n", b"\0\0\0\0"]))


@settings(max_examples=500)
@given(st.lists(st.tuples(codes, arguments), max_size=40))
def test_random_instructions(instructions) -> None:
    content = b"".join(code + argument for code, argument in instructions) + b"."
    machine = Machine(inert, lambda identifier: inert("storage", str(type(identifier))))
    try:
        machine.run(BytesIO(content))
    except MalformedPickleError:
        return
