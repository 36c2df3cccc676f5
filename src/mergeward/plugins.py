"""The registries: what this package has of one kind, and what other packages add through entry points.

An entry point names a member and where its record is. Packages are asked for their names only; one is
imported when something asks for a member of it. Whoever installs a package trusts its code: nothing that a
recipe, a suite or a checkpoint says makes this program import anything that is not installed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Generic, TypeVar

from mergeward.errors import UsageError, unknown_name

OURS = "mergeward"
"""Who has the names that no plug-in may take."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """What the record of every member of a registry holds.

    Attributes:
        name: The name that recipes, suites and the command line ask for it by.
        summary: What it does, in one sentence without a full stop.
        paper: Citation with its arXiv id.
        package: Name and version of the package that it is from; empty for this one's. A plug-in leaves it
            out, the registry fills it in.
    """

    name: str
    summary: str
    paper: str
    package: str = field(default="", kw_only=True)

    @property
    def identity(self) -> dict[str, str]:
        """What tells apart versions of the same member, for keys of what was made with it."""
        return {"package": self.package} if self.package else {}


Member = TypeVar("Member", bound=Record)


class Registry(Mapping[str, Member]):
    """The members of one kind by name: ours in the order of tables, then those of other packages.

    Iterating leaves out what cannot be loaded, with a warning in the log; asking for it by name says why.

    Args:
        kind: What the members are, in words ("merge method").
        group: Entry points of this group add members.
        form: Type of the members' records.
        own: The members of this package.
        taken: Further names that no plug-in may take, since they mean something here.
        elsewhere: What to do instead, by names of no member that users may give all the same; in lower case,
            with underscores.

    Raises:
        UsageError: On any look-up: two packages have a member of one name. On that of one member: the package
            it is from cannot be imported, or has another thing there.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        form: type[Member],
        own: Iterable[Member],
        taken: Iterable[str] = (),
        elsewhere: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.kind = kind
        self.group = group
        self._form = form
        self._own = {info.name: info for info in own}
        self._elsewhere = elsewhere
        self._taken = {*self._own, *taken, "none"}  # what suites call doing without one

    def find(self, name: str) -> Member:
        """Return the member of one name.

        Raises:
            UsageError: There is none of that name; the error says where it is, or suggests the closest.
        """
        if name not in self:
            instead = self._elsewhere.get(name.lower().replace("-", "_"))
            if instead is not None:
                raise UsageError(f"unknown {self.kind} {name!r}: {instead}")
            raise unknown_name(self.kind, name, self)
        return self[name]

    def __getitem__(self, name: str) -> Member:
        """Return the member of one name; `KeyError` when there is none."""
        plugins = self._plugins
        if name in self._own:
            return self._own[name]
        loaded = plugins[name].loaded
        if isinstance(loaded, str):
            raise UsageError(f"{self.kind} {name!r} of package {plugins[name].package}: {loaded}")
        return loaded

    def __iter__(self) -> Iterator[str]:
        """Yield the names of what can be loaded."""
        plugins = self._plugins
        yield from self._own
        for name, plugin in plugins.items():
            if isinstance(plugin.loaded, str):
                plugin.warn(self.kind)
            else:
                yield name

    def __len__(self) -> int:
        """Return how many members can be loaded."""
        return sum(1 for _ in self)

    @cached_property
    def _plugins(self) -> dict[str, _Plugin[Member]]:
        """What other packages say they have, by name; nothing is imported."""
        found: dict[str, _Plugin[Member]] = {}
        for entry in sorted(entry_points(group=self.group), key=lambda entry: (entry.name, entry.value)):
            plugin = _Plugin(entry, self._form)
            first = OURS if entry.name in self._taken else getattr(found.get(entry.name), "package", None)
            if first is not None:
                raise UsageError(
                    f"{self.kind} {entry.name!r}: both {first} and {plugin.package} have it; uninstall one"
                )
            found[entry.name] = plugin
        return found


@dataclass
class _Plugin(Generic[Member]):
    """One entry point."""

    entry: EntryPoint
    form: type[Member]
    warned: bool = False

    @property
    def package(self) -> str:
        """Name and version of the package that has it."""
        made = self.entry.dist
        return f"{made.name} {made.version}" if made is not None else "unknown"

    @cached_property
    def loaded(self) -> Member | str:
        """The record, or why there is none."""
        try:
            value = self.entry.load()
        except Exception as error:  # noqa: BLE001 - whatever it raises, the other packages must go on
            return " ".join(
                f"{self.entry.value} cannot be imported ({type(error).__name__}: {error})".split()
            )
        if not isinstance(value, self.form):
            return f"{self.entry.value} is no {self.form.__name__}"
        if value.name != self.entry.name:
            return f"{self.entry.value} is named {value.name!r}, expected {self.entry.name!r}"
        return replace(value, package=self.package)

    def warn(self, kind: str) -> None:
        """Say once that it is left out."""
        if not self.warned:
            self.warned = True
            _log.warning(
                "%s %r of package %s is left out: %s", kind, self.entry.name, self.package, self.loaded
            )
