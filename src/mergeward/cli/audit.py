"""`mergeward audit`."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperCommand
from typer.exceptions import Abort, Exit, TyperException

from mergeward.audit import AuditReport, Budget, audit
from mergeward.audit.report import INCONCLUSIVE, USAGE
from mergeward.cli.options import BUDGETS
from mergeward.cli.system import as_ours, is_out_of_memory
from mergeward.cli.terminal import hush, show, write_json
from mergeward.errors import MergewardError, RecipeError, UsageError
from mergeward.output import replaceable
from mergeward.report import audit_sarif, write_audit_page

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
        """Run, and have any failure exit as usage or as failed: 1, as Python has it, would be a suspect."""
        try:
            return super().invoke(ctx)
        except (Abort, Exit, TyperException):
            raise
        except MergewardError as error:
            raise _coded(error) from error.__cause__
        except Exception as error:
            raise _coded(_told(error)) from error


def _told(error: Exception) -> MergewardError:
    """Return what a user is told of a failure of the system or, with its trace, of the program."""
    ours = as_ours(error) if isinstance(error, OSError) else None
    if ours is not None:
        return ours
    if not isinstance(error, OSError) and not is_out_of_memory(error):
        traceback.print_exception(error)
    return MergewardError(f"the audit failed: {type(error).__name__}: {error}")


def _coded(error: MergewardError) -> MergewardError:
    """Return an error with this command's exit code for it."""
    error.exit_code = USAGE if isinstance(error, (UsageError, RecipeError)) else INCONCLUSIVE
    return error


def audit_command(
    recipe: Annotated[Path, typer.Argument(help="The recipe that would be merged.")],
    budget: Annotated[
        str, typer.Option("--budget", metavar=BUDGETS, help="How much to spend.")
    ] = Budget.STANDARD,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", help="What clean pools score, as 'mergeward reference' writes it."),
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Also write the report to this file.")] = None,
    sarif: Annotated[Path | None, typer.Option("--sarif", help="Also write it as SARIF 2.1.0.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also write it as one HTML page.")] = None,
) -> int:
    """Examine the contributions of a recipe before merging them.

    Every contribution gets a rank, and with a reference a p-value and a verdict. Without one nothing but a
    mark in a file makes a suspect, and a pool without one is inconclusive (exit code 2). The report says what
    was not looked at.
    """
    for path in (json, sarif, html):
        if path is not None:
            replaceable(path)
    report = audit(recipe, budget=budget, reference=reference)
    try:
        show(_table(report))
        show(_closing(report))
    except BrokenPipeError:
        hush()  # what was found is told by the exit code all the same
    if json is not None:
        write_json(report.to_json(), json)
    if sarif is not None:
        write_json(audit_sarif(report), sarif)
    if html is not None:
        write_audit_page(report, html)
    return report.exit_code


def _table(report: AuditReport) -> Table:
    table = Table("rank", "p", "model", "verdict", "evidence")
    for one in (*report.contributions, report.base):
        rank, p_value = (getattr(one, name, None) for name in ("rank", "p_value"))
        findings = [f"{evidence.heading}: {evidence.summary}" for evidence in one.evidence]
        if one.failure is not None:
            findings.append(f"{one.failure.stage} failed: {one.failure.reason}")
        numbers = ("" if rank is None else str(rank), "" if p_value is None else f"{p_value:.3g}")
        table.add_row(*numbers, one.name, one.verdict.value, "\n".join(findings))
    return table


def _closing(report: AuditReport) -> str:
    examined = f"{report.examined} of {len(report.contributions)} examined"
    lines = [f"Verdict: {report.verdict.value}, {examined}, budget {report.budget.value}."]
    lines += [f"Not examined by {stage}: {reason}." for stage, reason in report.not_examined.items()]
    lines += ["Not covered:", *(f"- {item}" for item in report.not_covered)]
    return "\n".join(lines)
