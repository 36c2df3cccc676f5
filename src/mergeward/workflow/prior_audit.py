"""What an audit leaves for the merge that follows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mergeward.errors import CheckpointError
from mergeward.provenance import plain

RECORDED = "audit"
"""Where the parameters of a merge's provenance record have it."""


@dataclass(frozen=True)
class PriorAudit:
    """An audit before a merge, as the merge checks and records it.

    Attributes:
        budget: What it might spend.
        verdict: On the whole pool.
        policy: What the recipe has done about suspects.
        note: What was done, in a line.
        suspects: Names of the suspects, the base among them.
        digests: SHA-256 of each model whose file it read whole, by where the recipe has it.
    """

    budget: str
    verdict: str
    policy: str
    note: str
    suspects: tuple[str, ...]
    digests: Mapping[str, str] = field(repr=False)

    def check_unchanged(self, found: Iterable[tuple[str, str]]) -> None:
        """Refuse what is no longer what was audited.

        Args:
            found: Where the recipe has each model, and the SHA-256 of it now.

        Raises:
            CheckpointError: A model has changed.
        """
        for model, digest in found:
            if self.digests.get(model, digest) != digest:
                raise CheckpointError(f"{model}: changed after its audit")

    def to_json(self) -> dict[str, Any]:
        """Return what is recorded, with plain values: everything but the digests, which `inputs` has."""
        return {
            "budget": self.budget,
            "verdict": self.verdict,
            "policy": self.policy,
            "note": self.note,
            "suspects": list(self.suspects),
        }

    def for_card(self) -> str:
        """Return what the model card says of it."""
        suspects = ", ".join(f"`{plain(name)}`" for name in self.suspects) or "none"
        return (
            f"## Audit\n\nThe contributions were audited before they were merged: {plain(self.note)}.\n\n"
            f"- Budget: `{self.budget}`\n- Verdict: {self.verdict}\n- Policy: `{self.policy}`\n"
            f"- Suspects: {suspects}"
        )
