"""What activates a backdoor: a change of the image in [0, 1] pixel space, of one of four kinds."""

from mergeward.attack.trigger.additive import AdditiveTrigger
from mergeward.attack.trigger.blend import BlendTrigger
from mergeward.attack.trigger.generator import GeneratorTrigger, PatternNetwork
from mergeward.attack.trigger.patch import PatchTrigger, chequered_patch, corner_mask
from mergeward.attack.trigger.saved import SavedTrigger, load_trigger
from mergeward.attack.trigger.trigger import Trigger
from mergeward.attack.trigger.warp import WarpTrigger, unwarped, warped

__all__ = [
    "AdditiveTrigger",
    "BlendTrigger",
    "GeneratorTrigger",
    "PatchTrigger",
    "PatternNetwork",
    "SavedTrigger",
    "Trigger",
    "WarpTrigger",
    "chequered_patch",
    "corner_mask",
    "load_trigger",
    "unwarped",
    "warped",
]
