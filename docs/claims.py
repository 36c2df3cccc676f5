"""Claims of the two papers, each held against what was measured here: `python docs/write_results.py`.

A claim is a sentence, where it is from, the suite that tests it, and a rule that says what the lines of a
run of that suite make of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from claim_rules import (
    Verdict,
    absence_does_not_help,
    badmerging_stays,
    beats_every_other,
    dam_is_lower,
    five_images_do,
    interpolation_pays,
    is_unseen,
    moves_over,
    ordinary_fade,
    pruning_fails,
    trigger_alone_works,
    undefended_is_open,
)

from mergeward.bench.summary import Line


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        text: It.
        source: The paper.
        suite: What tests it.
        judge: Says what the lines of a run make of it.
    """

    text: str
    source: str
    suite: str
    judge: Callable[[Sequence[Line]], Verdict]


def claims_table(runs: Mapping[str, Sequence[Line]]) -> str:
    """Return all claims as a Markdown table.

    Args:
        runs: The lines of the runs that there are, by suite.
    """
    rows = ["| claim | source | suite | here | figures |", "|---|---|---|---|---|"]
    for claim in CLAIMS:
        lines = runs.get(claim.suite)
        verdict = Verdict("not measured", "") if lines is None else claim.judge(lines)
        cells = (claim.text, claim.source, f"`{claim.suite}`", f"**{verdict.word}**", verdict.figures)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


BADMERGING, DAM = "BadMerging, second-hand", "DAM, second-hand"
"""Read in accounts of the papers, not in the papers themselves."""

DAM_ABSTRACT, DAM_CAPTION = "DAM, its abstract", "DAM, the caption of figure 2"
"""Read in the paper itself."""

EXPECTED = "what one expects of BadMerging"

CLAIMS = (
    Claim("Ordinary backdoors fall below 30 % in a merge", BADMERGING, "mini-attacks", ordinary_fade),
    Claim(
        "BadMerging on-task keeps 90 % under every merge",
        BADMERGING,
        "mini-attacks",
        badmerging_stays("badmerging-on", 0.9),
    ),
    Claim(
        "BadMerging beats every ordinary backdoor under every merge",
        BADMERGING,
        "mini-attacks",
        beats_every_other,
    ),
    Claim(
        "The attacked merge keeps the accuracy of the clean one, within a point",
        BADMERGING,
        "mini-attacks",
        is_unseen,
    ),
    Claim(
        "The universal trigger alone moves over 20 % of the images on a clean merge",
        "BadMerging's code, its issue 2",
        "mini-attacks",
        trigger_alone_works,
    ),
    Claim(
        "BadMerging off-task keeps 89 % under every merge",
        BADMERGING,
        "mini-attacks-off",
        badmerging_stays("badmerging-off", 0.89),
    ),
    Claim(
        "Off-task, other classes and tasks are above 90 %, too",
        BADMERGING,
        "mini-targets",
        badmerging_stays("badmerging-off", 0.9),
    ),
    Claim(
        "Five images of the target class do for the off-task attacker",
        EXPECTED,
        "mini-shadow",
        five_images_do,
    ),
    Claim(
        "Who stays out of the merge does not weaken the attacker",
        EXPECTED,
        "mini-participation",
        absence_does_not_help,
    ),
    Claim(
        "The feature-interpolation loss raises success",
        BADMERGING,
        "mini-interpolation",
        interpolation_pays,
    ),
    Claim(
        "Success grows with the merging coefficient",
        EXPECTED,
        "mini-coefficient",
        moves_over("badmerging-on", "method.weight", up=True),
    ),
    Claim(
        "Success grows with the trigger",
        EXPECTED,
        "mini-trigger-size",
        moves_over("badmerging-on", "attack.patch_size", up=True),
    ),
    Claim(
        "With more merged models success stays above 92 %",
        BADMERGING,
        "mini-models",
        badmerging_stays("badmerging-on", 0.92),
    ),
    Claim("Fine-pruning does not remove BadMerging", BADMERGING, "mini-defenses", pruning_fails),
    Claim(
        "DAM lowers success by at least 2 points against the best other merge, at a point of accuracy",
        DAM_ABSTRACT,
        "mini-dam",
        dam_is_lower,
    ),
    Claim(
        "DAM lowers it so with one, two and three compromised contributions, too",
        DAM_ABSTRACT,
        "mini-compromised",
        dam_is_lower,
    ),
    Claim(
        "Undefended merges keep over 70 % on the backdoored tasks and over 35 % over all tasks",
        DAM_CAPTION,
        "mini-dam",
        undefended_is_open,
    ),
    Claim(
        "Success falls as clean contributions join (one backdoored contribution)",
        DAM,
        "mini-succession",
        moves_over("one", "tasks", up=False),
    ),
    Claim(
        "A larger alpha, the weight of the safety loss, lowers success",
        "DAM, its corollary on the Pareto front, second-hand",
        "mini-alpha",
        moves_over("badmerging-on", "method.alpha", up=False),
    ),
)
