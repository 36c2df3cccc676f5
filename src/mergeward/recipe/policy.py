"""What a recipe says about auditing its contributions before they are merged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mergeward.recipe.entries import Location, Part

BudgetName = Literal["quick", "standard", "deep"]
PolicyName = Literal["warn", "drop", "down-weight", "refuse", "fortify"]


class AuditPolicy(Part):
    """How contributions are audited by `merge --audit`, and what is done about a suspect.

    Attributes:
        policy: "warn" merges as written; "drop" leaves suspects out; "down-weight" multiplies their weights;
            "refuse" merges nothing; "fortify" merges by `fortify` in place of task arithmetic.
        budget: How much the audit may spend.
        reference: What clean pools score: a file that `mergeward reference` wrote.
        factor: What "down-weight" multiplies a suspect's weight by.
    """

    policy: PolicyName = "warn"
    budget: BudgetName = "quick"
    reference: Location | None = None
    factor: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _factor_where_it_means_something(self) -> AuditPolicy:
        if self.factor is not None and self.policy != "down-weight":
            raise ValueError("factor goes with the policy down-weight alone")
        return self
