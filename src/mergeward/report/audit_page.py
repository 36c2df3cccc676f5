"""One HTML file that shows an audit: verdicts and evidence, recovered triggers, layer profiles."""

from __future__ import annotations

from pathlib import Path

from mergeward.audit import AuditReport, BaseReport, ContributionReport, Verdict
from mergeward.report import audit_findings
from mergeward.report.grid import Cell, Column, Grid, Group, Line
from mergeward.report.html import assets, environment, json_address, write_text
from mergeward.report.words import ABSENT

COLUMNS = (
    Column("verdict", "verdict", "verdict", numeric=False),
    Column("name", "contribution", "contribution", numeric=False),
    Column("rank", "rank", "rank"),
    Column("p_value", "p", "p"),
    Column("stage", "stage", "stage", numeric=False),
    Column("evidence", "evidence", "evidence", numeric=False),
)


def write_audit_page(report: AuditReport, path: Path) -> None:
    """Write an audit as one self-contained HTML page.

    Args:
        report: What the audit found.
        path: The file to write; an existing one is replaced.

    Raises:
        OutputError: The file cannot be written.
    """
    page = (
        environment()
        .get_template("audit.html.j2")
        .render(
            report=report,
            grid=evidence_grid(report),
            profiles=profiles_grid(report),
            cards=[audit_findings.finding_card(one) for one in report.findings],
            axis=audit_findings,
            json_address=json_address(report.to_json()),
            **assets(),
        )
    )
    write_text(path, page)


def evidence_grid(report: AuditReport) -> Grid:
    """Return one row for each contribution and stage, suspects first, then by rank; the base comes last."""
    order = {Verdict.SUSPECT: 0, Verdict.INCONCLUSIVE: 1, Verdict.PASS: 2}
    members = sorted(report.contributions, key=lambda one: (order[one.verdict], one.rank or 1 << 30))
    shown: list[BaseReport | ContributionReport] = [*members, report.base]
    groups = (Group(one.name, _lines(one)) for one in shown)
    return Grid(COLUMNS, tuple(group for group in groups if group.lines))


def profiles_grid(report: AuditReport) -> Grid | None:
    """Return the share of each layer in the squared length of each task vector; None where none is known."""
    layers: list[str] = []
    lines = []
    for one in report.contributions:
        norms = _layer_norms(one)
        total = sum(norm**2 for norm in norms.values())
        if not total:
            continue
        layers = list(norms)
        shares = [norm**2 / total for norm in norms.values()]
        cells = (Cell(f"{100 * share:.1f}", share, heat=share**0.5) for share in shares)
        lines.append(Line(one.name, (Cell("layers", "layers"), Cell(one.name, one.name), *cells)))
    if not lines:
        return None
    columns = (
        Column("kind", "", "", numeric=False),
        Column("name", "contribution", "contribution", numeric=False),
        *(Column(layer, layer, layer) for layer in layers),
    )
    return Grid(columns, (Group("layers", tuple(lines)),))


def _lines(one: BaseReport | ContributionReport) -> tuple[Line, ...]:
    rank = one.rank if isinstance(one, ContributionReport) else None
    rows = [(evidence.heading, evidence.summary, evidence.p_value) for evidence in one.evidence]
    if one.failure is not None:
        rows.append((one.failure.stage, f"failed: {one.failure.reason}", None))
    return tuple(
        Line(
            one.name,
            (
                Cell(one.verdict.value, one.verdict.value),
                Cell(one.name, one.name),
                Cell(ABSENT if rank is None else str(rank), rank),
                Cell(ABSENT if p_value is None else f"{p_value:.3f}", p_value),
                Cell(stage, stage),
                Cell(summary, summary),
            ),
        )
        for stage, summary, p_value in rows
    )


def _layer_norms(one: ContributionReport) -> dict[str, float]:
    for evidence in one.evidence:
        if "layer_norms" in evidence.figures:
            return dict(evidence.figures["layer_norms"])
    return {}
