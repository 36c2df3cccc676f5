"""The rules that say what the lines of a run make of the papers' claims; see `claims`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mergeward.bench.summary import Line
from mergeward.report.words import label, percent

ORDINARY = ("badnets", "blended", "label_consistent", "sig", "wanet", "dynamic", "trojannn")
"""Attacks that know nothing of merging."""

BACKDOORED = 2
"""Tasks with a backdoor in `mini-dam`."""

HOLDS, PARTLY, NOT = "holds", "partly", "does not hold"


@dataclass(frozen=True)
class Verdict:
    """What a run makes of a claim.

    Attributes:
        word: `HOLDS`, `PARTLY` or `NOT`.
        figures: Why.
    """

    word: str
    figures: str


def of_share(good: Iterable[bool], figures: str) -> Verdict:
    """Return the verdict on a claim that some of several cases keep."""
    kept = list(good)
    if not kept:
        return Verdict("not measured", figures)
    word = HOLDS if all(kept) else NOT if sum(kept) < len(kept) / 2 else PARTLY
    return Verdict(word, f"{sum(kept)} of {len(kept)}: {figures}")


def attacked(lines: Sequence[Line], *attacks: str, defense: str = "none") -> list[Line]:
    """Return the attacked merges of some attacks."""
    return [
        line
        for line in lines
        if line.kind == "attacked merge" and line.attack in attacks and line.defense == defense
    ]


def success(line: Line) -> float:
    """Return the attack success of an attacked merge."""
    if line.success is None:
        raise ValueError(f"{line.attack} {line.method}: an attacked merge without attack success")
    return line.success.mean


def span(lines: Sequence[Line]) -> str:
    """Return the range of attack success, in words."""
    if not lines:
        return ""
    rates = [success(line) for line in lines]
    return f"{percent(min(rates))} to {percent(max(rates))} %"


def ordinary_fade(lines: Sequence[Line]) -> Verdict:
    """Ordinary backdoors stay under 30 % after merging."""
    found = attacked(lines, *ORDINARY)
    worst = max(found, key=success, default=None)
    above = "" if worst is None else f"; most {label(worst.attack)} under {label(worst.method)}"
    return of_share((success(line) < 0.3 for line in found), f"{span(found)}{above}")


def badmerging_stays(attack: str, floor: float) -> Callable[[Sequence[Line]], Verdict]:
    """BadMerging keeps at least so much under every merge."""

    def judge(lines: Sequence[Line]) -> Verdict:
        found = attacked(lines, attack)
        return of_share((success(line) >= floor for line in found), span(found))

    return judge


def beats_every_other(lines: Sequence[Line]) -> Verdict:
    """BadMerging has more success than every ordinary backdoor, under each merge."""
    ours = {line.method: success(line) for line in attacked(lines, "badmerging-on")}
    others = {
        method: max(success(line) for line in attacked(lines, *ORDINARY) if line.method == method)
        for method in ours
    }
    told = "; ".join(f"{label(m)} {percent(ours[m])} against {percent(others[m])} %" for m in ours)
    return of_share((ours[method] > others[method] for method in ours), told)


def is_unseen(lines: Sequence[Line]) -> Verdict:
    """The attacked merge has the accuracy of the clean one, within one point."""
    clean = {line.method: line.accuracy.mean for line in lines if line.kind == "clean merge"}
    found = attacked(lines, "badmerging-on")
    drops = [clean[line.method] - line.accuracy.mean for line in found]
    told = f"accuracy falls by {100 * min(drops):.1f} to {100 * max(drops):.1f} points" if drops else ""
    return of_share((drop <= 0.01 for drop in drops), told)


def trigger_alone_works(lines: Sequence[Line]) -> Verdict:
    """The universal trigger moves more than 20 % of the images on merges that nobody attacked."""
    found = [line.clean_success.mean for line in attacked(lines, "badmerging-on") if line.clean_success]
    told = f"{percent(min(found))} to {percent(max(found))} % on clean merges" if found else ""
    return of_share((rate > 0.2 for rate in found), told)


def moves_over(attack: str, axis: str, *, up: bool) -> Callable[[Sequence[Line]], Verdict]:
    """Success is higher, or lower, at the end of an axis than at its start."""

    def judge(lines: Sequence[Line]) -> Verdict:
        by_method: dict[str, list[Line]] = {}
        for line in attacked(lines, attack):
            by_method.setdefault(line.method, []).append(line)
        told, kept = [], []
        for name, members in by_method.items():
            first, last = (success(pick(members, key=lambda one: one.axes[axis])) for pick in (min, max))
            kept.append(last > first if up else last < first)
            told.append(f"{label(name)} {percent(first)} to {percent(last)} %")
        return of_share(kept, "; ".join(told))

    return judge


def dam_is_lower(lines: Sequence[Line]) -> Verdict:
    """DAM's success is at least 2 points below that of the best other merge within a point of accuracy."""
    told, kept = [], []
    for attack in dict.fromkeys(line.attack for line in lines if line.kind == "attacked merge"):
        found = {line.method: line for line in attacked(lines, attack)}
        dam = found["dam"]
        others = [line for name, line in found.items() if not name.startswith("dam")]
        rivals = [line for line in others if line.accuracy.mean >= dam.accuracy.mean - 0.01]
        best = min(rivals, key=success, default=None)
        if best is not None:
            kept.append(success(best) - success(dam) >= 0.02)
            told.append(
                f"{label(attack)} {percent(success(dam))} against {percent(success(best))} % "
                f"({label(best.method)})"
            )
    return of_share(kept, "; ".join(told))


def undefended_is_open(lines: Sequence[Line]) -> Verdict:
    """Merges other than DAM keep over 70 % on the backdoored tasks; where measured, over 35 % over all."""
    attacks = dict.fromkeys(line.attack for line in lines if line.kind == "attacked merge")
    found = [line for line in attacked(lines, *attacks) if not line.method.startswith("dam")]
    over_all = [rate for line in found if (rate := _over_all_tasks(line)) is not None]
    told = f"{span(found)}; over all tasks "
    told += f"{percent(min(over_all))} to {percent(max(over_all))} %" if over_all else "not measured"
    return of_share((success(line) > 0.7 and _is_open_over_all(line) for line in found), told)


def _is_open_over_all(line: Line) -> bool:
    """Whether success over all tasks is above 35 %, or was not measured."""
    rate = _over_all_tasks(line)
    return rate is None or rate > 0.35


def _over_all_tasks(line: Line) -> float | None:
    """Return the mean over the backdoored tasks and those that no trigger aims at."""
    if line.transfer is None:
        return None
    others = len(line.tasks) - BACKDOORED
    return (BACKDOORED * success(line) + others * line.transfer.mean) / len(line.tasks)


def five_images_do(lines: Sequence[Line]) -> Verdict:
    """An off-task attacker has with five images at least nine tenths of what there is with most."""
    found: dict[object, dict[float, float]] = {}
    for line in attacked(lines, "badmerging-off"):
        by_images = found.setdefault(line.axes["attack.shadow_classes"], {})
        by_images[line.axes["attack.references"]] = success(line)
    told = "; ".join(
        f"{classes} names: {percent(rates[5])} % with 5 images, "
        f"{percent(rates[max(rates)])} with {max(rates)}"
        for classes, rates in found.items()
    )
    return of_share((rates[5] >= 0.9 * rates[max(rates)] for rates in found.values()), told)


def absence_does_not_help(lines: Sequence[Line]) -> Verdict:
    """Success is at least nine tenths of that among all contributions, whoever stays out of the merge."""
    kept, told = [], []
    for attack in ("badmerging-on", "badmerging-off"):
        by_method: dict[str, dict[str, float]] = {}
        for line in attacked(lines, attack):
            by_method.setdefault(line.method, {})[str(line.axes["absent"])] = success(line)
        for method, rates in by_method.items():
            least = min(rates.values())
            kept.append(least >= 0.9 * rates["none"])
            told.append(
                f"{label(attack)}, {label(method)}: {percent(rates['none'])} % among all, "
                f"least {percent(least)}, most {percent(max(rates.values()))}"
            )
    return of_share(kept, "; ".join(told))


def pruning_fails(lines: Sequence[Line]) -> Verdict:
    """Fine-pruning leaves at least nine tenths of BadMerging's success."""
    before = {line.method: success(line) for line in attacked(lines, "badmerging-on")}
    after = attacked(lines, "badmerging-on", defense="fine_pruning")
    told = "; ".join(
        f"{label(line.method)} {percent(before[line.method])} to {percent(success(line))} %" for line in after
    )
    return of_share((success(line) >= 0.9 * before[line.method] for line in after), told)


def interpolation_pays(lines: Sequence[Line]) -> Verdict:
    """With interpolated features success is higher than with those of the contribution alone."""
    ours, without = attacked(lines, "badmerging-on"), attacked(lines, "no-interpolation")
    told = "; ".join(
        f"{percent(success(one))} % without, {percent(success(other))} with"
        for one, other in zip(without, ours, strict=False)  # a run narrowed by --only lacks some
    )
    return of_share((success(line) > max(map(success, without)) for line in ours if without), told)
