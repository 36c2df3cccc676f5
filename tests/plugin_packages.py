"""Packages of plug-ins as an installer leaves them: modules, and a folder that says what is installed."""

from __future__ import annotations

import shutil
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeward.attack.registry import ATTACKS
from mergeward.defense.registry import DEFENSES
from mergeward.merge.registry import METHODS
from mergeward.plugins import Registry

REGISTRIES: tuple[Registry[Any], ...] = (METHODS, ATTACKS, DEFENSES)
PAGES = Path(__file__).resolve().parent.parent / "docs" / "plugins"


@dataclass(frozen=True)
class Package:
    """What is installed: a name, a version, its module's text, and entry points by group."""

    name: str
    version: str
    module: str
    entry_points: Mapping[str, Mapping[str, str]]

    @property
    def module_name(self) -> str:
        return self.name.replace("-", "_")

    def install(self, folder: Path) -> None:
        """Write it into a folder that is on the path, in place of another version."""
        for other in folder.glob(f"{self.module_name}-*.dist-info"):
            shutil.rmtree(other)
        (folder / f"{self.module_name}.py").write_text(self.module, encoding="utf-8")
        about = folder / f"{self.module_name}-{self.version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}\n"
        )
        lines = [
            line
            for group, entries in self.entry_points.items()
            for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
        ]
        (about / "entry_points.txt").write_text("\n".join(lines) + "\n")


def documented(kind: str) -> Package:
    """Return the package that the page of a kind of plug-in shows."""
    page = (PAGES / f"{kind}.md").read_text(encoding="utf-8")
    module, project = (page.split(f"```{language}\n")[1].split("```")[0] for language in ("python", "toml"))
    about = tomllib.loads(project)["project"]
    return Package(about["name"], about["version"], module, about["entry-points"])


def adding(name: str, kind: str, member: str, value: str = "INFO", *, module: str = "") -> Package:
    """Return a package that says it adds one member."""
    entry = {member: f"{name.replace('-', '_')}:{value}"}
    return Package(name, "1.0", module, {f"mergeward.{kind}s": entry})


def forget(packages: Iterable[Package]) -> None:
    """Let the registries look for plug-ins again, and import again what they find."""
    for package in packages:
        sys.modules.pop(package.module_name, None)
    for registry in REGISTRIES:
        registry.__dict__.pop("_plugins", None)
