"""What a run found, in sentences computed from its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mergeward.bench.results import Results, Row
from mergeward.report import reading
from mergeward.report.words import NO_ATTACK, enumeration, label, percent, whole_percent


@dataclass(frozen=True)
class Finding:
    """One sentence.

    Attributes:
        subject: What it is about: its first words.
        statement: The rest, ending in a full stop.
    """

    subject: str
    statement: str


def findings(results: Results) -> tuple[Finding, ...]:
    """Return one finding for each attack, then those about accuracy.

    An attack counts as keeping its success under a method when its interval lies wholly above that of the
    same trigger on the clean merge by that method.

    Args:
        results: A whole run with at least one row.
    """
    by_attack = (_attack(name, rows, results) for name, rows in reading.groups(results) if name != NO_ATTACK)
    return (*by_attack, *_accuracy(results))


def _attack(attack: str, rows: Sequence[Row], results: Results) -> Finding:
    ranked = sorted(rows, key=lambda row: -row.asr)
    kept = [row for row in ranked if _keeps(row, results)]
    lost = [row for row in ranked if row not in kept]
    clauses = []
    if kept:
        rates = enumeration([f"{whole_percent(row.asr)} under {label(row.method)}" for row in kept])
        clauses.append(f"keeps {rates}")
    if lost:
        names = enumeration([f"{label(row.method)} ({_beside_control(row, results)})" for row in lost])
        clauses.append(f"is not clearly above the clean merge under {names}")
    statement = f"{_alone(attack, results)}{', and '.join(clauses)}. {_clean_range(rows, results)}"
    return Finding(label(attack), statement)


def _keeps(row: Row, results: Results) -> bool:
    control = reading.control(row, results)
    return control is not None and row.asr_low > control.high


def _beside_control(row: Row, results: Results) -> str:
    control = reading.control(row, results)
    against = "" if control is None else f" against {whole_percent(control.rate)}"
    return f"{whole_percent(row.asr)}{against}"


def _clean_range(rows: Iterable[Row], results: Results) -> str:
    """Return what the same trigger does to the clean merges: no attack success is given without it."""
    rates = [control.rate for row in rows if (control := reading.control(row, results))]
    span = dict.fromkeys([whole_percent(min(rates)), whole_percent(max(rates))])
    return f"On clean merges the same trigger has {' to '.join(span)}."


def _alone(attack: str, results: Results) -> str:
    """Return the success before merging as an insertion, if it was measured."""
    alone = results.controls.attacker_alone.get(attack)
    if alone is None or attack not in alone.asr:
        return ""
    return f"({whole_percent(alone.asr[attack]['asr'])} before merging) "


def _accuracy(results: Results) -> Iterable[Finding]:
    best = max(results.rows, key=lambda row: row.accuracy)
    worst = min(results.rows, key=lambda row: row.accuracy)
    yield Finding(
        "Mean accuracy",
        f"lies between {whole_percent(worst.accuracy)} ({label(worst.method)}) and"
        f" {whole_percent(best.accuracy)} ({label(best.method)}); the base alone has"
        f" {whole_percent(results.controls.base.accuracy)}.",
    )
    attacked = [row for row in results.rows if row.attack != NO_ATTACK]
    if attacked:
        clean = results.controls.clean_merge
        largest = max(abs(row.accuracy - clean[row.method].accuracy) for row in attacked)
        yield Finding(
            "An attacked merge",
            "differs in mean accuracy from the clean merge by the same method"
            f" by at most {percent(largest)} points.",
        )
