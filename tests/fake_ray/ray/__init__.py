"""As much of Ray as the engine uses, in one process; put `tests/fake_ray` on the path to import it as `ray`.

What it does wrong is told by the address: "unreachable", "loses" (each job's worker, always), "leaves" (Ray's
own processes end), "breaks" (every worker raises), "dies" (after the first result, with the process that
drives it), "empty" (no machine).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any


class RayError(Exception):
    """Ray's own."""


class LocalRayletDiedError(RayError):
    """Ray itself has gone."""


class RayTaskError(RayError):
    """What a task raised."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("traceback\nof the worker")
        self.cause = cause


class Reference:
    """A result to come."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call


class Ray:
    """A cluster."""

    exceptions = SimpleNamespace(
        LocalRayletDiedError=LocalRayletDiedError, RayError=RayError, RayTaskError=RayTaskError
    )

    def __init__(self) -> None:
        self.address: str | None = None
        self.waits = 0
        self.options: list[dict[str, Any]] = []
        self.is_up = False

    def init(self, address: str | None, logging_level: int) -> None:
        if address == "unreachable":
            raise ConnectionError("no cluster\nthere")
        self.address, self.is_up = address, True

    def shutdown(self) -> None:
        self.is_up = False

    def nodes(self) -> list[dict[str, Any]]:
        alive = {"Alive": self.address != "empty", "Resources": {"CPU": 2.0}}
        return [{"Alive": False, "Resources": {}}, {"Alive": True, "Resources": {}}, alive]

    def remote(self, function: Callable[..., Any]) -> Any:
        def with_options(**options: Any) -> Any:
            self.options.append(options)
            return SimpleNamespace(remote=lambda order: Reference(lambda: function(order)))

        return SimpleNamespace(options=with_options)

    def wait(
        self, waiting: Sequence[Reference], *, num_returns: int, timeout: float
    ) -> tuple[list[Reference], list[Reference]]:
        self.waits += 1
        if self.address == "empty":
            return [], list(waiting)
        if self.address == "dies" and self.waits == 2:
            os._exit(1)
        return list(waiting[-1:]), list(waiting[:-1])  # the last first: any order may come

    def get(self, reference: Reference) -> Any:
        if self.address == "loses":
            raise RayError("worker\ncrashed")
        if self.address == "leaves":
            raise LocalRayletDiedError
        if self.address == "breaks":
            raise RayTaskError(ModuleNotFoundError("No module named 'mergeward'"))
        return reference.call()


exceptions = Ray.exceptions
_one = Ray()
init, shutdown, nodes, remote, wait, get = (
    _one.init,
    _one.shutdown,
    _one.nodes,
    _one.remote,
    _one.wait,
    _one.get,
)
