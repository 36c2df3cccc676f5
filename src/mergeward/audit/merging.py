"""An audit, and the merge of what its policy leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mergeward.audit.policy import Audited, audited
from mergeward.checkpoint import SHARD_BYTES, vacant
from mergeward.recipe import Recipe
from mergeward.workflow import MergeReport, merge
from mergeward.workflow.job import as_recipe
from mergeward.workflow.learning import SECONDS


def audit_and_merge(  # noqa: PLR0913 - one argument an option
    recipe: Recipe | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    state_seconds: float = SECONDS,
    on_marked: Callable[[str], None] | None = None,
    on_audited: Callable[[Audited], None] | None = None,
) -> MergeReport:
    """Audit the contributions of a recipe, do with suspects what its `audit` says, and merge the rest.

    What was found and done is recorded in what is written: in the provenance record, among its parameters,
    and on the model card. A model whose files change between audit and merge is refused.

    Args:
        recipe: Path of a YAML file, its content as a mapping, or a `Recipe`.
        out: As `merge` has it.
        resume: As `merge` has it; the audit is made again.
        device: Where to merge; the audit computes on the processor.
        threads: As `merge` has it.
        shard_bytes: As `merge` has it.
        state_seconds: As `merge` has it.
        on_marked: As `merge` has it.
        on_audited: Called with the audit and the recipe as it is merged, before the merge.

    Returns:
        What was merged, with the audit in `audit`.

    Raises:
        MergewardError: There is a suspect, or a contribution that could not be examined to the end, and the
            policy is to refuse; or nothing is left to merge. Besides, what `audit` and `merge` raise.

    Example:
        >>> audit_and_merge("recipe.yaml", "merged").audit.note  # doctest: +SKIP
        'suspect: shapes; left out'
    """
    vacant(out)
    checked = audited(as_recipe(recipe))
    if on_audited is not None:
        on_audited(checked)
    return merge(
        checked.recipe,
        out,
        resume=resume,
        device=device,
        threads=threads,
        shard_bytes=shard_bytes,
        state_seconds=state_seconds,
        on_marked=on_marked,
        audited=checked.prior,
    )
