"""What there is, as plain data: the command line, the docs and the tests are generated from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from mergeward.attack import attacks as all_attacks
from mergeward.attack.shadow import ShadowParameters
from mergeward.defense import defenses as all_defenses
from mergeward.defense import inapplicable
from mergeward.merge.adaptive.surgery import PAPER, SUMMARY, SurgeryParameters
from mergeward.merge.mergekit import ALIASES
from mergeward.merge.registry import methods as all_methods
from mergeward.tasks import task_names
from mergeward.tasks.embedded import EMBEDDED


def methods() -> list[dict[str, Any]]:
    """Return every merge method with its parameters."""
    return [
        {
            "name": info.name,
            "aliases": [alias for alias, name in ALIASES.items() if name == info.name],
            "kind": info.kind,
            "summary": info.summary,
            "paper": info.paper,
            "package": info.package,
            "needs_images": info.needs_images,
            "needs_base": info.needs_base,
            "min_contributions": info.min_contributions,
            "parameters": _parameters(info.parameters),
            "model_parameters": _parameters(info.model_parameters),
        }
        for info in all_methods()
    ]


def surgery() -> dict[str, Any]:
    """Return representation surgery, which goes on top of any merge, with its parameters."""
    return {"summary": SUMMARY, "paper": PAPER, "parameters": _parameters(SurgeryParameters)}


def attacks() -> list[dict[str, Any]]:
    """Return every attack with its parameters."""
    return [
        {
            "name": info.name,
            "summary": info.summary,
            "paper": info.paper,
            "package": info.package,
            "aims": list(info.aims),
            "parameters": _parameters(info.parameters),
            "off_task_parameters": _parameters(ShadowParameters) if "off-task" in info.aims else [],
        }
        for info in all_attacks()
    ]


def defenses() -> list[dict[str, Any]]:
    """Return every hardening step with its parameters, then those that are refused by name."""
    return [
        {
            "name": info.name,
            "kind": "hardening",
            "summary": info.summary,
            "paper": info.paper,
            "package": info.package,
            "needs_others": info.needs_others,
            "parameters": _parameters(info.parameters),
        }
        for info in all_defenses()
    ] + [
        {
            "name": one.name,
            "kind": "refused",
            "summary": f"{one.summary}; needs {one.needs}",
            "paper": one.paper,
            "package": "",
            "needs_others": False,
            "parameters": [],
        }
        for one in inapplicable()
    ]


def tasks(data: Path | None = None) -> list[dict[str, Any]]:
    """Return the embedded tasks, and those of a folder of task files."""
    entries = [
        {
            "name": drawing.name,
            "kind": "embedded",
            "summary": drawing.summary,
            "classes": list(drawing.class_names),
        }
        for drawing in EMBEDDED.values()
    ]
    if data is not None:
        entries += [{"name": name, "kind": "file", "summary": str(data)} for name in task_names(data)]
    return entries


def _parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    return [
        {
            "name": field.alias or name,
            "default": to_jsonable_python(field.get_default()),
            "description": field.description or "",
        }
        for name, field in model.model_fields.items()
    ]
