"""What counts as the code that made an artefact."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from mergeward.bench import code
from mergeward.bench.code import code_digest


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "somebodys_plugin"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "inner" / "__init__.py").write_text("from ..deep import value")
    (folder / "method.py").write_text(
        "from . import inner\nfrom .helper import f\n\ndef run():\n    return f()\n"
    )
    (folder / "helper.py").write_text("def f():\n    return 1\n")
    (folder / "deep.py").write_text("value = 1")
    (folder / "unused.py").write_text("value = 1")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def digest() -> str:
    code_digest.cache_clear()
    code._read.cache_clear()
    return code_digest(importlib.import_module("somebodys_plugin.method").run)


@pytest.mark.parametrize(
    ("file", "text", "counts"),
    [
        ("method.py", "from . import inner\n\ndef run():\n    return 3\n", True),
        ("helper.py", "def f():\n    return 2\n", True),
        ("deep.py", "value = 2", True),
        ("unused.py", "value = 2", False),
        ("helper.py", "def f():\n    # why\n    return 1\n", False),
    ],
)
def test_a_module_counts_with_what_it_imports_by_whatever_name(
    plugin: Path, file: str, text: str, counts: bool
) -> None:
    before = digest()
    (plugin / file).write_text(text)
    assert (digest() != before) is counts
    for name in [name for name in sys.modules if name.startswith("somebodys_plugin")]:
        del sys.modules[name]
