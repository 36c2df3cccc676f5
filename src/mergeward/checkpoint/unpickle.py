"""A machine for pickles that strangers wrote: it imports nothing and calls nothing but what it is given.

The interpreter's own unpickler calls what a pickle names, and can be made to exhaust memory or stack. This
one knows the instructions that checkpoints are made of, builds plain values, and is bounded in all it does.
"""

from __future__ import annotations

import gc
import pickletools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

MAX_PICKLE_BYTES = 1 << 24
"""A pickle longer than this is not read; that of a checkpoint holds no weights and has a tenth of it."""

MAX_INSTRUCTIONS = 300_000
"""Instructions that are followed; the largest CLIP, pickled as a whole module, has a third of them."""

Maker = Callable[[tuple[Any, ...]], Any]

_VALUES = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
    | {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
}
_SCALARS = (str, int, float, bytes, type(None))


class MalformedPickleError(ValueError):
    """A pickle that is cut short, or asks for what no checkpoint needs; caught within this room."""


@dataclass(frozen=True)
class Symbol:
    """A class or function that a pickle names, in place of the thing itself.

    Attributes:
        module: The module it names.
        name: The name within the module.
        make: What a call of it makes of the arguments.
    """

    module: str
    name: str
    make: Maker = field(repr=False, compare=False)

    @property
    def path(self) -> str:
        """Module and name."""
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Inert:
    """An object of a class that is never looked up: only what it was made of.

    Attributes:
        kind: Name of its class.
        attributes: What the pickle sets on it.
    """

    kind: str
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)


def inert(module: str, name: str) -> Symbol:
    """Return a class whose objects are inert."""
    return Symbol(module, name, lambda _: Inert(name))


class Machine:
    """Follows pickles.

    Args:
        resolve: Returns what stands for a module and a name, or raises.
        persistent: Returns what stands for an identifier of something outside the pickle, or raises.
    """

    def __init__(self, resolve: Callable[[str, str], Symbol], persistent: Callable[[Any], Any]) -> None:
        self._resolve = resolve
        self._persistent = persistent
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._instructions = 0

    def run(self, stream: BytesIO) -> Any:
        """Follow one pickle and return what it builds.

        Args:
            stream: Read up to the pickle's end.

        Raises:
            MalformedPickleError: It is cut short, too long, or asks for what no checkpoint needs.
        """
        self._stack, self._marked, self._memo = [], [], {}
        try:
            with _garbage_left_alone(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about escapes in quoted text that Python does not know
                self._follow_all(stream)
        except IndexError as error:
            raise MalformedPickleError("an instruction takes a value where there is none") from error
        except (ValueError, OverflowError) as error:
            raise MalformedPickleError(str(error) or type(error).__name__) from error
        return self._stack.pop()

    def _follow_all(self, stream: BytesIO) -> None:
        for instruction, argument, _ in pickletools.genops(stream):
            self._instructions += 1
            if self._instructions > MAX_INSTRUCTIONS:
                raise MalformedPickleError(f"more than {MAX_INSTRUCTIONS} instructions")
            self._follow(instruction.name, argument)

    def _follow(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self._stack.append(_EMPTY[name]())
        elif (step := getattr(self, f"_do_{name.lower()}", None)) is not None:
            step(argument)
        else:
            raise MalformedPickleError(f"instruction {name} is not followed")

    # Stack, marks and memo

    def _do_proto(self, _: Any) -> None:
        """Nothing: every protocol is a set of instructions."""

    _do_frame = _do_proto

    def _do_stop(self, _: Any) -> None:
        if len(self._stack) != 1 or self._marked:
            raise MalformedPickleError("ends with a stack that is not one value")

    def _do_mark(self, _: Any) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        values, self._stack = self._stack, self._marked.pop()
        return values

    def _do_pop(self, _: Any) -> None:
        self._stack.pop()

    def _do_pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _do_dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _do_put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    _do_binput = _do_long_binput = _do_put

    def _do_memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _do_get(self, index: int) -> None:
        if index not in self._memo:
            raise MalformedPickleError(f"nothing was kept as number {index}")
        self._stack.append(self._memo[index])

    _do_binget = _do_long_binget = _do_get

    # Containers

    def _do_tuple(self, _: Any) -> None:
        values = self._since_mark()
        self._stack.append(tuple(values))

    def _do_tuple1(self, _: Any) -> None:
        self._last_as_tuple(1)

    def _do_tuple2(self, _: Any) -> None:
        self._last_as_tuple(2)

    def _do_tuple3(self, _: Any) -> None:
        self._last_as_tuple(3)

    def _last_as_tuple(self, count: int) -> None:
        values = [self._stack.pop() for _ in range(count)]
        self._stack.append(tuple(reversed(values)))

    def _do_list(self, _: Any) -> None:
        values = self._since_mark()
        self._stack.append(values)

    def _do_append(self, _: Any) -> None:
        value = self._stack.pop()
        self._top(list).append(value)

    def _do_appends(self, _: Any) -> None:
        values = self._since_mark()
        self._top(list).extend(values)

    def _do_dict(self, _: Any) -> None:
        values = self._since_mark()
        self._stack.append({})
        self._set_items(values)

    def _do_setitem(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_items([key, value])

    def _do_setitems(self, _: Any) -> None:
        self._set_items(self._since_mark())

    def _set_items(self, values: list[Any]) -> None:
        if len(values) % 2:
            raise MalformedPickleError("a key without a value")
        target = self._top(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_key(key)] = value

    def _do_additems(self, _: Any) -> None:
        values = self._since_mark()
        self._top(set).update(map(_key, values))

    def _do_frozenset(self, _: Any) -> None:
        values = self._since_mark()
        self._stack.append(set(map(_key, values)))

    def _top(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise MalformedPickleError(f"{type(self._stack[-1]).__name__} in the place of a {kind.__name__}")
        return self._stack[-1]

    # Names, calls and objects

    def _do_global(self, argument: str) -> None:
        self._stack.append(self._resolve(*argument.split(" ", 1)))

    def _do_stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not (isinstance(module, str) and isinstance(name, str)):
            raise MalformedPickleError("the name of a class or function that is no text")
        self._stack.append(self._resolve(module, name))

    def _do_binpersid(self, _: Any) -> None:
        self._stack.append(self._persistent(self._stack.pop()))

    def _do_reduce(self, _: Any) -> None:
        arguments, called = self._stack.pop(), self._stack.pop()
        if not isinstance(called, Symbol) or not isinstance(arguments, tuple):
            raise MalformedPickleError(f"a call of {type(called).__name__}, which is no function")
        self._stack.append(called.make(arguments))

    _do_newobj = _do_reduce

    def _do_newobj_ex(self, _: Any) -> None:
        self._stack.pop()  # keyword arguments, of which inert objects have no use
        self._do_reduce(None)

    def _do_build(self, _: Any) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, Inert):
            for part in state if isinstance(state, tuple) else (state,):
                if isinstance(part, dict):
                    target.attributes.update((key, value) for key, value in part.items() if type(key) is str)
        elif not isinstance(target, dict):  # what is set on a state dict itself are version numbers
            raise MalformedPickleError(f"attributes for {type(target).__name__}, which has none")


@contextmanager
def _garbage_left_alone() -> Iterator[None]:
    """Keep the collector from looking again and again through what only grows: two thirds of the time."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _key(value: Any) -> Any:
    """Return a key whose hash costs no more than it has characters."""
    flat = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(part, _SCALARS) for part in flat):
        raise MalformedPickleError("a key that is no text or number")
    return value
