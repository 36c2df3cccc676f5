"""Which merges are timed, and which peers can do them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.checkpoints import Model, clip_vision, llama
from harness.tools import Call


@dataclass(frozen=True)
class Timing:
    """One merge, by ours and by every peer that has it.

    Attributes:
        method: Our name of the method, with what sets this merge apart.
        ours: The merge in our terms.
        theirs: The merge in each peer's terms, by the peer's name.
        notes: What a peer computes that is not the same, by the peer's name.
    """

    method: str
    ours: Call
    theirs: Mapping[str, Call]
    notes: Mapping[str, str]


@dataclass(frozen=True)
class Sizes:
    """The checkpoints of a run.

    Attributes:
        plain: Plain float32 files like a CLIP ViT-L/14's image tower.
        plain_contributions: How many there are; growth is shown up to here.
        timed_contributions: How many are merged where tools are compared.
        language: Sharded bfloat16 folders like a language model's.
        language_contributions: How many there are.
        grown: Plain models of other sizes, for growth with size.
    """

    plain: Model
    plain_contributions: int
    timed_contributions: int
    language: Model
    language_contributions: int
    grown: tuple[Model, ...]


FULL = Sizes(
    plain=clip_vision("vit-l-14", width=1024, layers=24),
    plain_contributions=8,
    timed_contributions=4,
    language=llama(
        "llama-2b", width=2048, layers=28, inner=8192, vocabulary=32000, shard_bytes=1_000_000_000
    ),
    language_contributions=2,
    grown=tuple(clip_vision(f"vit-{layers}-layers", width=1024, layers=layers) for layers in (6, 12, 18)),
)
QUICK = Sizes(
    plain=clip_vision("quick-vit", width=384, layers=6),
    plain_contributions=3,
    timed_contributions=2,
    language=llama("quick-llama", width=512, layers=4, inner=2048, vocabulary=8000, shard_bytes=20_000_000),
    language_contributions=2,
    grown=(clip_vision("quick-vit-3-layers", width=384, layers=3),),
)

L1_NORM = "scales to the former L1 norm"
OVERLAP = "divides by how many masks overlap"
WHOLE_TENSOR = "masks whole tensors, not rows"


def timings(contributions: int) -> tuple[Timing, ...]:
    """Return the merges that are timed on plain files, for a number of contributions."""
    weight = {"weight": 0.3}
    scale = {"scaling_factor": 0.3}
    weights = {"weights": [0.3] * contributions}
    sparse = {**weight, "density": 0.2}
    drop = {**scale, "sparsity_ratio": 0.8, "only_on_linear_weights": False}
    trim = {**scale, "threshold": 20, "remove_keys": [], "merge_func": "sum"}
    crumbs = {**weight, "density": 0.85, "gamma": 0.01}
    mergekit_ties = {
        "mergekit": Call("ties", sparse),
        "sd-mecha": Call("ties_sum", {"alpha": 0.3, "k": 0.2, "vote_sgn": True}),
        "peft": Call("ties", {**weights, "density": 0.2}),
    }
    return (
        Timing(
            "average",
            Call("average"),
            {
                "mergekit": Call("linear", {"weight": 1.0}),
                "sd-mecha": Call("n_average"),
                "fusion-bench": Call("simple_average"),
            },
            {},
        ),
        Timing(
            "task_arithmetic",
            Call("task_arithmetic", weight),
            {
                "mergekit": Call("task_arithmetic", weight),
                "sd-mecha": Call("task_arithmetic", {"alpha": 0.3}),
                "fusion-bench": Call("task_arithmetic", scale),
                "peft": Call("task_arithmetic", weights),
            },
            {},
        ),
        Timing("ties", Call("ties", sparse), {"fusion-bench": Call("ties_merging", trim)}, {}),
        Timing(
            "ties, semantics mergekit",
            Call("ties", {**sparse, "normalize": True, "semantics": "mergekit"}),
            mergekit_ties,
            {},
        ),
        Timing(
            "dare_linear",
            Call("dare_linear", sparse),
            {
                "mergekit": Call("dare_linear", sparse),
                "sd-mecha": Call("dropout", {"probability": 0.8, "alpha": 0.3, "seed": 0}),
                "fusion-bench": Call("dare_task_arithmetic", drop),
                "peft": Call("dare_linear", {**weights, "density": 0.2}),
            },
            {"mergekit": L1_NORM, "sd-mecha": OVERLAP},
        ),
        Timing(
            "dare_ties",
            Call("dare_ties", sparse),
            {
                "mergekit": Call("dare_ties", sparse),
                "fusion-bench": Call("dare_ties", {**drop, **trim, "threshold": 100, "rescale": True}),
                "peft": Call("dare_ties", {**weights, "density": 0.2}),
            },
            {"mergekit": L1_NORM},
        ),
        Timing(
            "breadcrumbs",
            Call("breadcrumbs", crumbs),
            {"mergekit": Call("breadcrumbs", crumbs)},
            {"mergekit": WHOLE_TENSOR},
        ),
        Timing(
            "della",
            Call("della", {**weight, "density": 0.5, "epsilon": 0.1}),
            {"mergekit": Call("della", {**weight, "density": 0.5, "epsilon": 0.1})},
            {"mergekit": L1_NORM},
        ),
        Timing(
            "model_stock",
            Call("model_stock"),
            {
                "mergekit": Call("model_stock"),
                "sd-mecha": Call("n_model_stock"),
                "fusion-bench": Call("model_stock"),
            },
            {},
        ),
        Timing(
            "magmax",
            Call("magmax", {"lambda": 0.5}),
            {"fusion-bench": Call("magmax", {"scaling_factor": 0.5})},
            {},
        ),
    )


QUICK_METHODS = ("average", "ties")
"""What `--quick` times on plain files."""

FIRST_METHODS = ("average",)
"""What is also timed on files that ours has not hashed before."""

LANGUAGE_METHODS = ("average", "task_arithmetic", "ties, semantics mergekit", "dare_linear")
"""What is timed on sharded folders; of the peers, mergekit reads and writes them."""

LANGUAGE_PEERS = ("mergekit",)

GROWTH_METHODS = ("average", "task_arithmetic", "ties")
"""What is shown as it grows."""
