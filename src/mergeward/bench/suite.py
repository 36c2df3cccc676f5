"""Suites: what a researcher runs by name, as checked values.

A suite is a grid: tasks, who is backdoored and how, merge methods, defenses and seeds. The package has its
own as YAML files beside this module; a path names anybody's.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from mergeward.bench.fields import Listed, Some, Training, Values
from mergeward.errors import RecipeError, UsageError, suggestion, unknown_name
from mergeward.recipe import Part, describe, read_yaml
from mergeward.tasks.loading import HUB_PREFIX

FOLDER = Path(str(files("mergeward.bench") / "suites"))
SMALL = "small"
"""The base of suites for the small CLIP: the embedded one, or one pretrained on the images of `--data`."""

BASE, TASK = "{base}", "{task}"
"""In the name of a published contribution: the last parts of the base's and the task's, the latter with
hyphens for underscores."""

NONE = "none"
"""No attack, no method, no defense."""

Place = str | int
"""A task by its spec, or by its place in the suite's list, from 0."""


class Named(Part):
    """One member of a registry with its parameters.

    Attributes:
        name: What tables call it; by default its name in the registry.
        parameters: Its parameters; the others keep their defaults.
    """

    member: ClassVar[str]
    name: str = Field(min_length=1)
    parameters: Values = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        """Read a bare name as a member with default parameters."""
        entry = {cls.member: value} if isinstance(value, str) else value
        return {"name": entry.get(cls.member), **entry} if isinstance(entry, dict) else entry


class MethodEntry(Named):
    """A merge method.

    Attributes:
        method: Its name in the registry.
        surgery: Parameters of representation surgery on top of the merge; None for none.
    """

    member: ClassVar[str] = "method"
    method: str
    surgery: dict[str, JsonValue] | None = None


class DefenseEntry(Named):
    """What hardens a merge afterwards.

    Attributes:
        defense: Its name in the registry, or `none`.
    """

    member: ClassVar[str] = "defense"
    defense: str


class Adversary(Part):
    """One contributor who is an attacker.

    Attributes:
        attack: An attack, by its name in the registry.
        task: The task that they contribute to.
        partner: The task in whose place the second contribution of an attack goes that makes two.
        target_task: The task they attack; by default their own ("on-task").
        target_class: Class name or label that triggered images are to be given.
        parameters: The attack's parameters.
        training: How they fine-tune, where it differs from the clean contributions.
    """

    attack: str
    task: Place
    partner: Place | None = None
    target_task: Place | None = None
    target_class: str | int = 0
    parameters: Values = Field(default_factory=dict)
    training: Training = Field(default_factory=dict)


class AttackEntry(Part):
    """Who is backdoored, and how.

    Attributes:
        name: What tables call it.
        adversaries: One attacker or several, each in the place of another contribution.
    """

    name: str = Field(min_length=1)
    adversaries: Some[Adversary]


class TaskSets(Part):
    """Which tasks a suite is about.

    Attributes:
        embedded: Without a data folder.
        data: With one.
        hub: Datasets of the hub by their ids; a suite with these has no others.
    """

    embedded: Listed[str] = ()
    data: Listed[str] = ()
    hub: Listed[str] = ()

    @model_validator(mode="after")
    def _of_one_place(self) -> TaskSets:
        if self.hub and (self.embedded or self.data):
            raise ValueError("'hub' stands alone, without 'embedded' and 'data'")
        return self

    @model_validator(mode="after")
    def _each_once(self) -> TaskSets:
        for names in (self.embedded, self.data, self.hub):
            if len(set(names)) < len(names):
                raise ValueError(f"expected every task once, found {list(names)}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _the_same_for_both(cls, value: object) -> object:
        if not isinstance(value, list | Mapping | TaskSets):
            raise ValueError("expected a list, or lists under 'embedded' and 'data', or under 'hub'")
        return {"embedded": value, "data": value} if isinstance(value, list) else value


class Suite(Part):
    """A grid of cells with a name.

    Attributes:
        name: Its name; that of its file.
        title: What it is, in a few words.
        summary: What is measured, and what it stands for.
        source: The table or figure of a paper that it stands for; empty where there is none.
        base: A base, as everywhere, or `small`.
        tasks: Specs of the tasks, each of which has one contribution.
        contributions: Fine-tunes that others published, by task, or one name for all: folders or hub ids, in
            which `{base}` and `{task}` are the last parts of the base's and the task's names. They stand in
            place of our clean contributions.
        training: How clean contributions are fine-tuned, and those of attackers.
        attacker: Defaults for every adversary. The clean retrain in an attacker's place is trained alike.
        attacks: The attacks.
        methods: The merge methods.
        defenses: What hardens the merges afterwards; `none` leaves them as they are.
        seeds: Each repeats everything: splits, contributions, merges.
        transfer: Whether triggers are also pasted on the images of the tasks that they do not aim at.
        sweep: Values of an axis by its name. `method.KEY`, `attack.KEY` and `defense.KEY` set a parameter
            of every member that has it; `attacker.KEY` a field of every adversary (`attacker.target_class`)
            or of their training; `tasks` takes the first so many tasks; `absent` leaves the contributions to
            some tasks, a list of places, out of the merges, which are measured on these tasks all the same.
    """

    name: str
    title: str
    summary: str
    source: str = ""
    base: str = SMALL
    tasks: TaskSets
    contributions: dict[str, str] = Field(default_factory=dict)
    training: Training = Field(default_factory=dict)
    attacker: Values = Field(default_factory=dict)
    attacks: Listed[AttackEntry] = ()
    methods: Some[MethodEntry]
    defenses: Some[DefenseEntry] = Field(default=("none",), validate_default=True)
    seeds: Some[Annotated[int, Field(ge=0)]] = (0,)
    transfer: bool = False
    sweep: dict[str, Some[JsonValue]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _spelt_out(cls, value: object) -> object:
        """Give every adversary the suite's defaults, and every attack the form with adversaries."""
        if not isinstance(value, dict) or not isinstance(value.get("attacks"), list):
            return value
        defaults = value.get("attacker") or {}
        if not isinstance(defaults, dict):
            return value
        return {**value, "attacks": [_with_defaults(entry, defaults) for entry in value["attacks"]]}

    @field_validator("contributions", mode="before")
    @classmethod
    def _by_task(cls, value: object, info: ValidationInfo) -> object:
        """Give every task the one name for all, and refuse those that the suite has not."""
        tasks: TaskSets = info.data.get("tasks", TaskSets())
        known = dict.fromkeys((*tasks.embedded, *tasks.data, *tasks.hub))
        if isinstance(value, str):
            return dict.fromkeys(known, value)
        for name in value if isinstance(value, dict) else ():
            if name not in known:
                raise ValueError(f"{name!r} is no task of the suite{suggestion(str(name), known)}")
        return value

    @field_validator("attacks", "methods", "defenses")
    @classmethod
    def _distinct(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [entry.name for entry in value]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise ValueError(f"{name!r} appears twice; give one of them another 'name'")
        return value

    @field_validator("attacks", "methods", "defenses")
    @classmethod
    def _none_is_none(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        """Refuse what tables would show as nothing: of all, only no defense may be called so."""
        for entry in value:
            if entry.name == NONE and getattr(entry, "defense", None) != NONE:
                raise ValueError(f"{NONE!r} is the name of what there is not; give it another 'name'")
        return value

    @field_validator("seeds")
    @classmethod
    def _each_seed_once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"expected every seed once, found {list(value)}")
        return value

    def task_specs(self, data: Path | None) -> tuple[str, ...]:
        """Return the tasks to load, with or without a data folder.

        Raises:
            UsageError: The suite has none for this case.
        """
        local = self.tasks.embedded or tuple(HUB_PREFIX + name for name in self.tasks.hub)
        chosen = local if data is None else self.tasks.data
        if not chosen:
            raise UsageError(
                f"suite {self.name}: it needs --data"
                if data is None
                else f"suite {self.name}: it takes no --data"
            )
        return chosen

    def published(self, spec: str) -> str | None:
        """Return what stands in place of our clean contribution to a task; None for nothing."""
        task = spec.removeprefix(HUB_PREFIX)
        name = self.contributions.get(task)
        if name is None:
            return None
        return name.replace(BASE, _last(self.base)).replace(TASK, _last(task).replace("_", "-"))


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def suite_names() -> tuple[str, ...]:
    """Return the names of the package's suites, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def load_suite(name: str | Path) -> Suite:
    """Read and check a suite.

    Args:
        name: A suite of the package, or the path of a YAML file (with a separator, or ending in `.yaml`).
            With the key `extends`, a file is another suite with its own keys in place of that one's.

    Raises:
        UsageError: There is no suite of that name.
        RecipeError: The file is not a suite; every wrong key is named.

    Example:
        >>> load_suite("mini-smoke").seeds
        (0, 1)
    """
    path = _suite_path(name, Path())
    return as_suite({"name": path.stem, **_content(path)})


def _suite_path(name: str | Path, folder: Path) -> Path:
    """Return the file of a suite of the package, or of one whose path is relative to a folder."""
    text = str(name)
    is_path = isinstance(name, Path) or "/" in text or "\\" in text or text.endswith((".yaml", ".yml"))
    if not is_path and text not in suite_names():
        raise unknown_name("suite", text, suite_names())
    return folder / name if is_path else FOLDER / f"{text}.yaml"


def _content(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the keys of a suite's file, with those of the suite that it extends.

    Args:
        path: The file.
        below: The files that lead to it by extending, resolved.
    """
    if path.resolve() in below:
        raise RecipeError(f"{path}: extends itself")
    content = read_yaml(path, expected="a suite")
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: expected keys and values (title: ...), found none")
    extended = content.pop("extends", None)
    if extended is None:
        return content
    if not isinstance(extended, str):
        raise RecipeError(f"{path}: extends: expected the name or path of a suite, found {extended!r}")
    return {**_content(_suite_path(extended, path.parent), (*below, path.resolve())), **content}


def as_suite(content: Mapping[str, Any]) -> Suite:
    """Return a checked suite from its content.

    Raises:
        RecipeError: A key is unknown, missing or wrong; every such key is named.
    """
    try:
        return Suite.model_validate(dict(content))
    except ValidationError as error:
        raise RecipeError(f"suite {content.get('name')}: {describe(error, Suite)}") from error


def _with_defaults(entry: object, defaults: Mapping[str, Any]) -> object:
    if isinstance(entry, str):
        entry = {"attack": entry}
    if not isinstance(entry, dict):
        return entry
    if "adversaries" not in entry:
        alone = {key: value for key, value in entry.items() if key != "name"}
        entry = {"name": entry.get("name", entry.get("attack")), "adversaries": [alone]}
    if not isinstance(entry["adversaries"], list):
        return entry
    return {**entry, "adversaries": [_joined(defaults, one) for one in entry["adversaries"]]}


def _joined(defaults: Mapping[str, Any], given: object) -> object:
    if not isinstance(given, dict):
        return given
    nested = {
        key: {**(defaults.get(key) or {}), **(given.get(key) or {})}
        for key in ("parameters", "training")
        if all(isinstance(values.get(key) or {}, dict) for values in (defaults, given))
        and (key in defaults or key in given)
    }
    return {**defaults, **given, **nested}
