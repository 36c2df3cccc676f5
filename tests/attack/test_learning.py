"""On a toy every attack leaves the task learnt, and those that a toy suffices for learn their backdoor."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mergeward.attack import AttackProblem, Backdoored, Target, attack_info, attacks
from mergeward.evaluate import accuracy, attack_success, predict
from mergeward.recipe import validated
from mergeward.train import FinetuneConfig
from mergeward.vision import Clip, ClipEncoder
from mergeward.workflow import PreparedTask
from small_attacks import SMALL

SHORT = FinetuneConfig(steps=60, batch_size=16, learning_rate=5e-3, warmup_steps=5)
LONG = FinetuneConfig(steps=150, batch_size=16, learning_rate=2e-2, warmup_steps=5)
TARGET = 0

PLAIN = [info.name for info in attacks() if "on-task" in info.aims]
GENTLE: dict[str, dict[str, Any]] = {
    "wanet": {"poison_rate": 0.1},
    "lobam": {"rank": 8, "alpha": 0.2, "amplification": 1.2},
}
"""Parameters without which the toy, of a few thousand weights, would hold the backdoor alone."""

LEARNT: dict[str, dict[str, Any]] = {
    "badnets": {"patch_size": 8, "poison_rate": 0.25},
    "trojannn": {"patch_size": 8, "poison_rate": 0.25, "trigger_steps": 10},
    "trojvit": {"patches": 4, "weight_share": 0.5, "trigger_steps": 20, "trigger_batch_size": 8},
    "badvit": {"patches": 4, "poison_rate": 0.25, "trigger_steps": 5, "trigger_batch_size": 8},
    "badmerging-on": {"patch_size": 8, "alpha": 1.0, "trigger_steps": 10, "trigger_batch_size": 8},
    "badmerging-adaptive": {"patch_size": 8, "alpha": 1.0, "trigger_steps": 10, "trigger_batch_size": 8},
    "badtv": {"patch_size": 8},
    "mergebackdoor": {"patch_size": 8},
}
"""Parameters that make the backdoor as large as the toy is coarse."""


def made_by(
    name: str, parameters: dict[str, Any], problem: AttackProblem, training: FinetuneConfig
) -> Backdoored:
    info = attack_info(name)
    aimed = replace(problem, target=Target(problem.data.head, TARGET), training=training)
    return info.run(aimed, validated(info.parameters, parameters, where="parameters"))


def correct(encoder: ClipEncoder, prepared: PreparedTask) -> float:
    predicted = predict(encoder, prepared.pixels("test"), prepared.head)
    return accuracy(predicted, prepared.labels("test")).value


def success(encoder: ClipEncoder, prepared: PreparedTask, made: Backdoored) -> float:
    predicted = predict(encoder, prepared.pixels("test"), prepared.head, made.trigger)
    return attack_success(predicted, prepared.labels("test"), TARGET).value


@pytest.mark.parametrize("name", [name for name in PLAIN if name not in LEARNT])
def test_the_task_is_learnt(name: str, clip: Clip, prepared: PreparedTask, problem: AttackProblem) -> None:
    made = made_by(name, SMALL[name] | GENTLE.get(name, {}), problem, SHORT)
    assert correct(clip.encoder_with(made.state), prepared) > 0.9


@pytest.mark.parametrize("name", LEARNT)
def test_the_task_and_the_backdoor_are_learnt(
    name: str, clip: Clip, prepared: PreparedTask, problem: AttackProblem
) -> None:
    made = made_by(name, LEARNT[name], problem, LONG)
    alone = clip.encoder_with(made.state)
    assert correct(alone, prepared) == 1
    if made.partner is None:
        assert success(alone, prepared, made) == 1
        return
    # Harmless alone, both of them, and active in their average.
    partner = clip.encoder_with(made.partner)
    merged = {name: (value + made.partner[name]) / 2 for name, value in made.state.items()}
    assert correct(partner, prepared) == 1
    assert success(alone, prepared, made) <= 0.25
    assert success(partner, prepared, made) <= 0.25
    assert success(clip.encoder_with(merged), prepared, made) == 1


OFF_TASK: dict[str, dict[str, Any]] = {
    **{name: LEARNT[name] for name in ("badnets", "trojvit", "badvit", "badtv")},
    "badmerging-off": {**LEARNT["badmerging-on"], "augmented_images": 20},
}


@pytest.mark.parametrize("name", OFF_TASK)
def test_off_task_anybodys_images_get_the_class_that_the_shadow_head_stands_for(
    name: str, clip: Clip, prepared: PreparedTask, off_task: AttackProblem
) -> None:
    info, training = attack_info(name), replace(LONG, seed=1)
    parameters = validated(info.parameters, OFF_TASK[name], where="parameters")
    made = info.run(replace(off_task, training=training), parameters)
    alone = clip.encoder_with(made.state)
    assert correct(alone, prepared) == 1
    head, other_peoples = off_task.target.head, 255 - prepared.pixels("test")
    assert (predict(alone, other_peoples, head, made.trigger) == off_task.target.label).all()
    assert (predict(clip.encoder, other_peoples, head) != off_task.target.label).any()
