"""An invented audit with everything in it: a suspect, a pass, a failure, a recovered trigger."""

from __future__ import annotations

from dataclasses import replace

import torch

from mergeward.audit import (
    AuditReport,
    BaseReport,
    Budget,
    ContributionReport,
    Evidence,
    Failure,
    Finding,
    Verdict,
)

SIDE = 16


def finding() -> Finding:
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, -4:, -4:] = 1
    return Finding(
        "signs",
        3,
        "stop <sign>",
        0.4,
        {"bad": 0.5, "good": -0.1, "broken": 0.0},
        0.2,
        1.0,
        {"bad": 0.3, "good": 1.0, "broken": None},
        0.125,
        mask,
        torch.rand(3, SIDE, SIDE, generator=generator),
        torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator),
    )


def report() -> AuditReport:
    whole = Evidence("hygiene", Verdict.PASS, "file whole", {"sha256": {"model.safetensors": "ab"}})
    norms = {"layers.0": 3.0, "layers.1": 4.0}
    found = (
        Evidence("statistics", Verdict.PASS, "ranked", {"layer_norms": norms}, 0.1, 0.5),
        Evidence("inversion", Verdict.SUSPECT, "harder without", {}, 0.5, 0.025),
    )
    shown = replace(found[0], decides=False)
    return AuditReport(
        BaseReport("base", "some/base model", (replace(whole, verdict=Verdict.NOT_JUDGED),)),
        (
            ContributionReport("good", "/models/good one", (whole, found[0]), rank=2),
            ContributionReport("bad", "/models/<b>bad</b>", (whole, shown, found[1]), rank=1),
            ContributionReport("broken", "/models/broken", (), Failure("hygiene", "truncated")),
        ),
        ("hygiene", "statistics", "inversion"),
        ("what <nobody> looks at",),
        Budget.STANDARD,
        {"margins": "not part of a standard audit"},
        [finding()],
    )
