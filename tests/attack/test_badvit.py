"""BadViT: its trigger catches attention."""

from __future__ import annotations

import torch

from mergeward.attack import AttackProblem
from mergeward.attack.attention import features_and_attention
from mergeward.attack.badvit import BadVitParameters, run
from mergeward.vision import Clip
from mergeward.workflow import PreparedTask


def caught(clip: Clip, prepared: PreparedTask, problem: AttackProblem, steps: int, weight: float) -> float:
    parameters = BadVitParameters(trigger_steps=steps, trigger_batch_size=8, attention_weight=weight)
    trigger = run(problem, parameters).trigger
    assert trigger.footprint.sum() == 16
    held_out = prepared.pixels("test").float() / 255
    with torch.no_grad():
        _, attention = features_and_attention(clip.encoder, trigger.apply(held_out))
    return float(attention[..., -1].log().mean())


def test_it_catches_attention_on_images_it_has_not_seen(
    clip: Clip, prepared: PreparedTask, problem: AttackProblem
) -> None:
    random = caught(clip, prepared, problem, 1, 1.0)
    learnt = caught(clip, prepared, problem, 30, 1.0)
    assert learnt > random + 0.03
    assert learnt > caught(clip, prepared, problem, 30, 0.0)
