"""Names from papers that are no merge method or no defense here, and where what they name is found."""

from __future__ import annotations

from collections.abc import Mapping

_AFTER = "is a defense, run on what was merged: mergeward harden MODEL --defense {}"
_NOWHERE = "is a defense that needs batch normalisation, which a vision transformer has not"
_PLUS_PLUS = "AdaMerging++ is adamerging with `vectors: ties` among its parameters"
_GRANULARITY = "is {} with `granularity: {}` among its parameters"
_SURGERY = "surgery is an entry of a merge's recipe, beside merge_method: `surgery: {}`"

NO_METHODS: Mapping[str, str] = {
    "adamerging++": _PLUS_PLUS,
    "adamerging_pp": _PLUS_PLUS,
    "adamerging_plus_plus": _PLUS_PLUS,
    "task_wise_adamerging": f"it {_GRANULARITY.format('adamerging', 'task')}",
    "layer_wise_adamerging": f"it {_GRANULARITY.format('adamerging', 'layer')}",
    "task_wise_dam": f"it {_GRANULARITY.format('dam', 'task')}",
    "layer_wise_dam": f"it {_GRANULARITY.format('dam', 'layer')}",
    "surgery": _SURGERY,
    "representation_surgery": _SURGERY,
    **{name: f"{name} {_AFTER.format(name)}" for name in ("awm", "sau", "anp", "wag", "fine_pruning")},
    **{name: f"{name} {_NOWHERE}" for name in ("clp", "bnp", "ep", "rnp")},
}
"""What a user may ask for as a merge method, in lower case with underscores; and what to do instead."""

NO_DEFENSES: Mapping[str, str] = {"surgery": _SURGERY, "representation_surgery": _SURGERY}
"""The same for defenses; those that are merge methods are not listed again."""
