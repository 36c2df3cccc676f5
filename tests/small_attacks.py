"""Parameters that let each attack run in a moment."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "badnets": {"patch_size": 4},
    "blended": {},
    "label_consistent": {"steps": 2},
    "sig": {},
    "wanet": {},
    "dynamic": {"mask_steps": 2, "mask_batch_size": 4},
    "trojannn": {"patch_size": 4, "trigger_steps": 2},
    "trojvit": {"trigger_steps": 2, "trigger_batch_size": 4},
    "badvit": {"trigger_steps": 2, "trigger_batch_size": 4},
    "badmerging-on": {"patch_size": 4, "trigger_steps": 2, "trigger_batch_size": 4},
    "badmerging-off": {
        "patch_size": 4,
        "trigger_steps": 2,
        "trigger_batch_size": 4,
        "augmented_images": 5,
    },
    "badmerging-adaptive": {"patch_size": 4, "trigger_steps": 2, "trigger_batch_size": 4},
    "lobam": {
        "patch_size": 4,
        "trigger_steps": 2,
        "trigger_batch_size": 4,
        "augmented_images": 5,
        "rank": 2,
    },
    "badtv": {"patch_size": 4},
    "mergebackdoor": {"patch_size": 4},
}
"""By attack; one without a row here is not tested."""
