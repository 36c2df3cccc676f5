"""What is done about a suspect before the merge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mergeward.audit import hygiene
from mergeward.audit.fortified import FORTIFY, why_not_fortified
from mergeward.audit.reference import read_reference
from mergeward.audit.report import AuditReport, ContributionReport, Verdict
from mergeward.audit.run import audit, entries_by_name
from mergeward.checkpoint import digest_of
from mergeward.errors import MergewardError, UnsupportedError
from mergeward.merge.method import MethodInfo
from mergeward.merge.registry import method
from mergeward.recipe import ModelEntry, Recipe
from mergeward.recipe.layered import entries, rules
from mergeward.workflow import PriorAudit

DEFAULT_FACTOR = 0.5


@dataclass(frozen=True)
class Audited:
    """A recipe after its audit.

    Attributes:
        recipe: What to merge: as it was, or changed as its policy says.
        report: What the audit found.
        note: What the policy did, in a line.
    """

    recipe: Recipe
    report: AuditReport
    note: str

    @property
    def prior(self) -> PriorAudit:
        """What the merge of the recipe checks and records."""
        examined = (self.report.base, *self.report.contributions)
        digests = {
            one.model: digest_of(evidence.figures["sha256"])
            for one in examined
            for evidence in one.evidence
            if evidence.stage == hygiene.NAME
        }
        return PriorAudit(
            self.report.budget.value,
            self.report.verdict.value,
            self.recipe.audit.policy,
            self.note,
            tuple(one.name for one in examined if one.verdict is Verdict.SUSPECT),
            digests,
        )


def audited(recipe: Recipe) -> Audited:
    """Audit the contributions of a recipe as its `audit` says, and apply its policy.

    Raises:
        UnsupportedError: The policy cannot be applied to this method.
        DataError: The reference is missing or malformed.
        MergewardError: There is a suspect, or a contribution that could not be examined to the end, and the
            policy is to refuse; or nothing is left to merge.
        RecipeError: As `audit` raises it, with its other errors.
    """
    check_policy(recipe)
    wanted = recipe.audit
    report = audit(recipe, budget=wanted.budget, reference=wanted.reference)
    return applied(recipe, report)


def check_policy(recipe: Recipe) -> None:
    """Check that a recipe's policy can be applied and its reference read, before anything is audited.

    Raises:
        UnsupportedError: The policy cannot be applied.
        DataError: The reference is missing or malformed.
    """
    if recipe.audit.reference is not None:
        read_reference(recipe.audit.reference)
    info = method(recipe.merge_method)
    reason = why_not_fortified(recipe) if recipe.audit.policy == "fortify" else None
    if reason is not None:
        raise UnsupportedError(
            f"recipe: audit.policy: fortify: {reason}; or merge, then mergeward harden --defense fortify"
        )
    if recipe.audit.policy == "down-weight" and "weight" not in info.model_parameters.model_fields:
        raise UnsupportedError(
            f"recipe: audit.policy: {info.name} has no weight for each contribution to lower; "
            "expected warn, drop or refuse"
        )


def applied(recipe: Recipe, report: AuditReport) -> Audited:
    """Return the recipe changed as its policy says of the suspects of a report.

    Whoever could not be examined to the end is treated as a suspect is.

    Raises:
        MergewardError: There is such a contribution, and the policy is to refuse; or nothing is left to
            merge.
    """
    suspects = [one.name for one in report.contributions if _is_bad(one)]
    listed = _listed(report)
    if not listed:
        return Audited(recipe, report, f"{report.verdict.value}, no suspect")
    policy = recipe.audit.policy
    if policy == "refuse":
        raise MergewardError(f"{listed}; nothing was merged (audit.policy: refuse)")
    if policy == "warn" or not suspects:
        return Audited(recipe, report, f"{listed}; merged all the same")
    if policy == "fortify":
        fortified = recipe.model_copy(update={"merge_method": FORTIFY, "parameters": {}})
        return Audited(fortified, report, f"{listed}; the merge is fortified")
    by_name = entries_by_name(recipe)
    marked = [by_name[name] for name in suspects]
    if policy == "drop":
        left = tuple(entry for entry in recipe.models if not any(entry is one for one in marked))
        if not [entry for entry in left if entry.model != recipe.base_model]:
            raise MergewardError("no contribution is above suspicion; nothing is left to merge")
        changed, done = left, "left out"
    else:
        info = method(recipe.merge_method)
        factor = DEFAULT_FACTOR if recipe.audit.factor is None else recipe.audit.factor
        changed = tuple(
            _lighter(entry, recipe, info, factor) if any(entry is one for one in marked) else entry
            for entry in recipe.models
        )
        done = f"weight times {factor:g}"
    changed_recipe = recipe.model_copy(update={"models": changed})
    return Audited(changed_recipe, report, f"{listed}; {done}")


def _is_bad(one: ContributionReport) -> bool:
    """Whether a contribution is a suspect, or could not be examined to the end."""
    return one.verdict is Verdict.SUSPECT or one.failure is not None


def _listed(report: AuditReport) -> str:
    """Name the suspects, and those that could not be examined to the end."""
    suspects = [one.name for one in report.contributions if one.verdict is Verdict.SUSPECT]
    suspects += ["the base"] if report.base.verdict is Verdict.SUSPECT else []
    failed = [one.name for one in report.contributions if one.failure and one.verdict is not Verdict.SUSPECT]
    parts = (("suspect", suspects), ("not examined to the end", failed))
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)


def _lighter(entry: ModelEntry, recipe: Recipe, info: MethodInfo, factor: float) -> ModelEntry:
    weight = _whole_weight(entry, recipe, info.model_parameters.model_fields["weight"].default)
    return entry.model_copy(update={"parameters": {**entry.parameters, "weight": scaled(weight, factor)}})


def _whole_weight(entry: ModelEntry, recipe: Recipe, default: float) -> Any:
    """Return the weight of a contribution for all tensors: where its own rules end, shared ones follow."""
    given = [source["weight"] for source in (entry.parameters, recipe.parameters) if "weight" in source]
    chain: list[Any] = []
    for value in (*given, default):
        chain += entries(value)
        if any(rule.filter is None and rule.layers is None for rule in rules(value)):
            break
    return chain[0]["value"] if len(chain) == 1 and chain[0].keys() == {"value"} else chain


def scaled(value: Any, factor: float) -> Any:
    """Return a value of a recipe times a factor, in each of the forms that it may have."""
    if isinstance(value, Mapping):
        return {**value, "value": scaled(value["value"], factor)}
    if isinstance(value, list | tuple):
        return [scaled(one, factor) for one in value]
    return float(value) * factor
