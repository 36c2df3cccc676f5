"""`mergeward audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand
from typer.exceptions import TyperException

from mergeward.audit import AuditReport, audit
from mergeward.audit.report import INCONCLUSIVE, USAGE
from mergeward.cli.terminal import show, write_json
from mergeward.errors import MergewardError, RecipeError, UsageError

EXIT_CODES = """
Exit codes of this command, which are not those of the others: 0 nothing found and everything examined,
1 a suspect, 2 inconclusive or failed, 3 nothing could be examined, 4 usage (unknown name or option, malformed
recipe), 130 interrupted.
"""


class AuditCommand(TyperCommand):
    """A command whose exit codes are those of scanners, for failures too."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse, and have a mistake there exit as usage."""
        try:
            return super().make_context(*arguments, **options)
        except TyperException as error:
            error.exit_code = USAGE
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run, and have a failure exit as usage or as failed."""
        try:
            return super().invoke(ctx)
        except MergewardError as error:
            error.exit_code = USAGE if isinstance(error, (UsageError, RecipeError)) else INCONCLUSIVE
            raise


def audit_command(
    recipe: Annotated[Path, typer.Argument(help="The recipe that would be merged.")],
    json: Annotated[Path | None, typer.Option("--json", help="Also write the report to this file.")] = None,
) -> int:
    """Examine the contributions of a recipe before merging them.

    Stages so far: file hygiene, and statistics of the task vectors, which rank and decide nothing. A pool
    without a finding is therefore inconclusive (exit code 2), and the report says what was not looked at.
    """
    report = audit(recipe)
    if json is not None:
        write_json(report.to_json(), json)
    show(_table(report))
    show(_closing(report))
    return report.exit_code


def _table(report: AuditReport) -> Table:
    table = Table("rank", "model", "verdict", "evidence")
    for one in (*report.contributions, report.base):
        rank = getattr(one, "rank", None)
        findings = [f"{evidence.stage}: {evidence.summary}" for evidence in one.evidence]
        if one.failure is not None:
            findings.append(f"{one.failure.stage} failed: {one.failure.reason}")
        # Text, because file names and records may hold what looks like markup.
        cells = ("" if rank is None else str(rank), one.name, one.verdict.value, "\n".join(findings))
        table.add_row(*map(Text, cells))
    return table


def _closing(report: AuditReport) -> str:
    lines = [f"Verdict: {report.verdict.value}, {report.examined} of {len(report.contributions)} examined."]
    lines += ["Not covered:", *(f"- {item}" for item in report.not_covered)]
    return "\n".join(lines)
