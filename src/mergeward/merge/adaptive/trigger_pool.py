"""A pool of triggers that an adversary looks for in a merged model: what an unknown trigger may be like.

Every trigger belongs to a task and a class of it, and is pasted in one place: x (1 - m) + v m, with m one in
a small square. The values v climb towards the class, a step at a time, while the model changes: a trigger
that reaches its class stays and goes on, one that does not is replaced by another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mergeward.errors import DataError
from mergeward.seeding import torch_generator

CLEAN = -1
"""What stands for the class of an image that gets no trigger."""

LIVES = 4
"""A trigger that goes on reaching its class is replaced after so many times `Search.tries` steps."""


@dataclass(frozen=True)
class Search:
    """What triggers look like, and how they are looked for.

    Attributes:
        per_task: Triggers of each task at a time.
        smallest: Least side of a patch, as a share of the image's.
        largest: Greatest side of a patch, likewise.
        corners: Share of the patches that lie in one of the four corners; the others lie anywhere.
        step: Length of a step, in [0, 1] pixels.
        tries: Steps after which a trigger must reach its class.
        reach: Share of its images that count as reaching it.
    """

    per_task: int
    smallest: float
    largest: float
    corners: float
    step: float
    tries: int
    reach: float


class TriggerPool:
    """Triggers, dealt over the images of a batch; every `per_task + 1`-th image of a task stays clean.

    Args:
        classes: Number of classes of each task.
        sizes: Images of each task in a batch.
        side: Height and width of the images.
        search: What triggers look like.
        seed: Seed of places, classes and starting values.
        dtype: Type of the pixels.
        device: Where they are.

    Raises:
        DataError: A task has fewer images in a batch than triggers and one.
    """

    def __init__(
        self,
        classes: Sequence[int],
        sizes: Sequence[int],
        side: int,
        search: Search,
        seed: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        self._counts = [count for count in classes for _ in range(search.per_task)]
        self._side = side
        self._search = search
        self._random = torch_generator(seed, "adversarial triggers")
        self._sizes = list(sizes)
        if min(sizes) <= search.per_task:
            raise DataError(
                f"{search.per_task} triggers a task need {search.per_task + 1} adapt images of it in a batch "
                f"or more, found {min(sizes)} (batch_size, and the images there are)"
            )
        self._owner = torch.cat([_dealt(size, search.per_task, task) for task, size in enumerate(sizes)])
        count = len(self._counts)
        self._values = torch.zeros(count, 3, side, side, dtype=dtype, device=device)
        self._mask = torch.zeros(count, 1, side, side, dtype=dtype, device=device)
        self._classes = torch.zeros(count, dtype=torch.int64)
        self._ages = torch.zeros(count, dtype=torch.int64)
        self._hits = torch.zeros(count, dtype=torch.float64)
        for index in range(count):
            self._replace(index)

    @property
    def targets(self) -> list[Tensor]:
        """The class that the trigger on each image aims at, int64 `[B_t]` for each task; or `CLEAN`."""
        own = torch.where(self._owner < 0, CLEAN, self._classes[self._owner])
        return list(torch.split(own, self._sizes))

    def apply(self, images: Tensor) -> Tensor:
        """Return a batch `[sum of sizes, 3, S, S]` with the triggers on it."""
        mask = self._mask[self._owner] * (self._owner >= 0).view(-1, 1, 1, 1).to(images)
        return images * (1 - mask) + self._values[self._owner] * mask

    def climb(self, slope: Tensor, hits: Tensor) -> None:
        """Let every trigger take one step down a loss, and replace those that get nowhere.

        Args:
            slope: The loss's gradient in the images that `apply` returned.
            hits: bool `[sum of sizes]`, which images got the class that their trigger aims at.
        """
        slopes = slope * self._mask[self._owner]
        for index in range(len(self._counts)):
            own = self._owner == index
            towards = slopes[own].sum(0).sign()
            self._values[index].sub_(towards, alpha=self._search.step).clamp_(0, 1)
            self._hits[index] = (self._hits[index] + hits[own].double().mean()) / 2
            self._ages[index] += 1
            if self._is_spent(index):
                self._replace(index)

    def success(self) -> float:
        """Return the share of images that lately got the class that their trigger aims at."""
        return float(self._hits.mean())

    def state_dict(self) -> dict[str, Tensor]:
        """Return where the triggers stand."""
        return {
            "values": self._values,
            "mask": self._mask,
            "classes": self._classes,
            "ages": self._ages,
            "hits": self._hits,
            "random": self._random.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` returned."""
        own = self.state_dict()
        for name in own.keys() - {"random"}:
            own[name].copy_(state[name])
        self._random.set_state(state["random"])

    def _is_spent(self, index: int) -> bool:
        age, tries = int(self._ages[index]), self._search.tries
        works = float(self._hits[index]) >= self._search.reach
        return age >= (LIVES * tries if works else tries)

    def _replace(self, index: int) -> None:
        self._classes[index] = self._integer(self._counts[index])
        self._ages[index] = 0
        self._hits[index] = 0
        shape = self._values[index].shape
        self._values[index] = torch.rand(shape, generator=self._random, dtype=torch.float64)
        self._mask[index] = 0
        side = self._patch_side()
        top, left = self._corner(side) if self._share() < self._search.corners else self._anywhere(side)
        self._mask[index, :, top : top + side, left : left + side] = 1

    def _patch_side(self) -> int:
        least, most = (
            max(1, round(share * self._side)) for share in (self._search.smallest, self._search.largest)
        )
        return least + self._integer(most - least + 1)

    def _corner(self, side: int) -> tuple[int, int]:
        far = self._side - side
        return far * self._integer(2), far * self._integer(2)

    def _anywhere(self, side: int) -> tuple[int, int]:
        places = self._side - side + 1
        return self._integer(places), self._integer(places)

    def _integer(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self._random))

    def _share(self) -> float:
        return float(torch.rand((), generator=self._random))


def _dealt(size: int, per_task: int, task: int) -> Tensor:
    """Return which trigger each image of a task gets: int64 `[B_t]`, or `CLEAN`."""
    turn = torch.arange(size) % (per_task + 1)
    return torch.where(turn < per_task, task * per_task + turn, CLEAN)
