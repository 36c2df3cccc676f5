"""Which code an artefact was made with, and which versions, so that others make it anew."""

from __future__ import annotations

import ast
import hashlib
import platform
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mergeward.provenance import package_version

OWN = "mergeward"


@cache
def versions() -> str:
    """Return the versions that figures depend on, in words."""
    packages = [f"{name} {version(name)}" for name in ("torch", "transformers", "numpy")]
    return ", ".join([f"mergeward {package_version()}", *packages, f"Python {platform.python_version()}"])


@cache
def code_digest(function: Callable[..., Any]) -> str:
    """Return a hash of the code that a function runs: its module, and what that imports of the same package.

    Modules of mergeward count too where another package's function imports them. Comments, docstrings and
    layout do not count. Imports are read off the source; nothing is imported or run.

    Args:
        function: Defined in a module that has a source file.
    """
    function = function.func if isinstance(function, partial) else function
    packages = {OWN, function.__module__.partition(".")[0]}
    waiting, seen = [function.__module__], dict[str, str]()
    while waiting:
        name = waiting.pop()
        path = _source(name) if name.partition(".")[0] in packages and name not in seen else None
        if path is not None:
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            seen[name], imported = _read(path, package)
            waiting.extend(imported)
    digest = hashlib.sha256()
    for name in sorted(seen):
        digest.update(f"{name}\0{seen[name]}\0".encode())
    return digest.hexdigest()[:16]


@cache
def _read(path: Path, package: str) -> tuple[str, tuple[str, ...]]:
    """Return a hash of what a module does, and what it imports; relative imports start from its package."""
    tree = ast.parse(path.read_bytes())
    imported = tuple(_imported(tree, package))
    return hashlib.sha256(ast.dump(_without_docstrings(tree)).encode()).hexdigest(), imported


def _source(name: str) -> Path | None:
    """Return the file of a module; None for what only looks like one (`from module import name`)."""
    top, *rest = name.split(".")
    origin = getattr(sys.modules.get(top), "__file__", None)
    if origin is None:
        return None
    if Path(origin).name != "__init__.py":
        return Path(origin) if not rest else None
    place = Path(origin).parent.joinpath(*rest)
    candidates = (place / "__init__.py", place.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(part for part in (above, node.module) if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree
