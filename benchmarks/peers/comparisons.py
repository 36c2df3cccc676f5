"""Which merges are compared element by element, and every deviation that is known and meant."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.tools import Call

ROUNDING = 1e-6
"""Largest difference that counts as agreement: a two-thousandth of a typical update in `peers.small`."""


@dataclass(frozen=True)
class Comparison:
    """One merge by ours and by a peer.

    Attributes:
        name: The method, with what sets this comparison apart.
        ours: The merge in our terms.
        peer: The peer.
        theirs: The merge in the peer's terms.
        deviation: Why the two are not meant to agree everywhere, in one sentence; empty where they are.
        contributions: How many models are merged.
        random: Whether each tool draws masks of its own. Then only elements that both kept are compared, and
            the share that each kept is noted.
        without: Tensors left out of the checkpoints, because the peer cannot take them.
    """

    name: str
    ours: Call
    peer: str
    theirs: Call
    deviation: str = ""
    contributions: int = 3
    random: bool = False
    without: tuple[str, ...] = field(default=())


THIRD = {"weight": 0.3}
UNEVEN = tuple({"weight": weight} for weight in (0.2, 0.3, 0.5))
TIES = {"weight": 0.3, "density": 0.2}
DROP = {"weight": 1.0, "density": 0.2}
CRUMBS = {"weight": 0.3, "density": 0.85}
STAYS = "Where the cosines are below zero on average ours stays at the base; the peer goes the other way."

EMPTY_OR_SINGLE = ("frozen.weight", "logit_scale")


def ties(normalize: bool, **more: object) -> Call:
    """Return TIES in our terms."""
    return Call("ties", {**TIES, "normalize": normalize, **more})


def fusion_ties(merge: str) -> Call:
    """Return TIES in FusionBench's terms."""
    own = {"scaling_factor": 0.3, "threshold": 20, "remove_keys": [], "merge_func": merge}
    return Call("ties_merging", own)


COMPARISONS = (
    # averages and task arithmetic
    Comparison("average", Call("average"), "mergekit", Call("linear", {"weight": 1.0})),
    Comparison("average", Call("average"), "sd-mecha", Call("n_average")),
    Comparison("average", Call("average"), "fusion-bench", Call("simple_average")),
    Comparison(
        "average, uneven weights", Call("average", each=UNEVEN), "mergekit", Call("linear", each=UNEVEN)
    ),
    Comparison(
        "average, uneven weights",
        Call("average", each=UNEVEN),
        "fusion-bench",
        Call("weighted_average", {"weights": [0.2, 0.3, 0.5], "normalize": True}),
    ),
    Comparison("task_arithmetic", Call("task_arithmetic", THIRD), "mergekit", Call("task_arithmetic", THIRD)),
    Comparison(
        "task_arithmetic", Call("task_arithmetic", THIRD), "sd-mecha", Call("task_arithmetic", {"alpha": 0.3})
    ),
    Comparison(
        "task_arithmetic",
        Call("task_arithmetic", THIRD),
        "fusion-bench",
        Call("task_arithmetic", {"scaling_factor": 0.3}),
    ),
    Comparison(
        "task_arithmetic",
        Call("task_arithmetic", THIRD),
        "peft",
        Call("task_arithmetic", {"weights": [0.3] * 3}),
    ),
    # TIES
    Comparison("ties, sum", ties(normalize=False), "fusion-bench", fusion_ties("sum")),
    Comparison(
        "ties, mean", ties(normalize=True, weight=1.0, **{"lambda": 0.3}), "fusion-bench", fusion_ties("mean")
    ),
    Comparison(
        "ties, mean",
        ties(normalize=True),
        "mergekit",
        Call("ties", TIES),
        "mergekit trims each tensor by itself, ours all tensors at once, as the authors' code does.",
    ),
    Comparison(
        "ties, mean, semantics mergekit",
        ties(normalize=True, semantics="mergekit"),
        "mergekit",
        Call("ties", TIES),
    ),
    Comparison(
        "ties, mean",
        ties(normalize=True, **{"lambda": 0.3}),
        "peft",
        Call("ties", {"weights": [0.3] * 3, "density": 0.2}),
        "PEFT trims each tensor by itself, ours all tensors at once, as the authors' code does.",
    ),
    Comparison(
        "ties, mean, semantics peft",
        ties(normalize=True, semantics="peft"),
        "peft",
        Call("ties", {"weights": [0.3] * 3, "density": 0.2}),
    ),
    Comparison(
        "ties, mean, semantics mergekit",
        ties(normalize=True, semantics="mergekit", **{"lambda": 0.3}),
        "sd-mecha",
        Call("ties_sum", {"alpha": 0.3, "k": 0.2, "vote_sgn": True}),
        "sd-mecha keeps one coordinate more of each tensor, and all that are as large as the smallest kept.",
    ),
    Comparison(
        "ties, mean, signs by count",
        ties(normalize=True, semantics="mergekit", **{"lambda": 0.3}),
        "sd-mecha",
        Call("ties_sum", {"alpha": 0.3, "k": 0.2, "vote_sgn": False}),
        "sd-mecha by default elects signs by counting models; ours, as the paper, by sums of updates.",
    ),
    # random dropping: every tool draws its own masks
    Comparison(
        "dare_linear",
        Call("dare_linear", DROP),
        "fusion-bench",
        Call(
            "dare_task_arithmetic",
            {"scaling_factor": 1.0, "sparsity_ratio": 0.8, "only_on_linear_weights": False},
        ),
        contributions=1,
        random=True,
    ),
    Comparison(
        "dare_linear",
        Call("dare_linear", DROP),
        "peft",
        Call("dare_linear", {"weights": [1.0], "density": 0.2}),
        contributions=1,
        random=True,
    ),
    Comparison(
        "dare_linear",
        Call("dare_linear", DROP),
        "sd-mecha",
        Call("dropout", {"probability": 0.8, "alpha": 1.0, "seed": 0}),
        contributions=1,
        random=True,
    ),
    Comparison(
        "dare_linear",
        Call("dare_linear", DROP),
        "mergekit",
        Call("dare_linear", DROP),
        "mergekit scales what is left to the tensor's L1 norm, ours by 1 / density as in the paper.",
        contributions=1,
        random=True,
    ),
    Comparison(
        "dare_linear, rescale false",
        Call("dare_linear", {**DROP, "rescale": False}),
        "mergekit",
        Call("dare_linear", {**DROP, "rescale": False}),
        contributions=1,
        random=True,
    ),
    Comparison(
        "dare_linear, density 1",
        Call("dare_linear", {**THIRD, "density": 1.0}),
        "mergekit",
        Call("dare_linear", {**THIRD, "density": 1.0}),
    ),
    Comparison(
        "dare_ties, density 1",
        Call("dare_ties", {**THIRD, "density": 1.0, "normalize": False}),
        "mergekit",
        Call("dare_ties", {**THIRD, "density": 1.0}),
    ),
    Comparison(
        "dare_ties, density 1",
        Call("dare_ties", {**THIRD, "density": 1.0, "normalize": True, "lambda": 0.3}),
        "peft",
        Call("dare_ties", {"weights": [0.3] * 3, "density": 1.0}),
    ),
    Comparison(
        "della, rescale false",
        Call("della", {"weight": 1.0, "density": 0.5, "epsilon": 0.1, "rescale": False}),
        "mergekit",
        Call("della", {"weight": 1.0, "density": 0.5, "epsilon": 0.1, "rescale": False}),
        contributions=1,
        random=True,
        without=("logit_scale",),
    ),
    Comparison(
        "della",
        Call("della", {"weight": 1.0, "density": 0.5, "epsilon": 0.1}),
        "mergekit",
        Call("della", {"weight": 1.0, "density": 0.5, "epsilon": 0.1}),
        "mergekit scales the tensor to its former L1 norm, ours each element by 1 / p as in the paper.",
        contributions=1,
        random=True,
        without=("logit_scale",),
    ),
    # breadcrumbs
    Comparison(
        "breadcrumbs",
        Call("breadcrumbs", {**CRUMBS, "gamma": 0.05}),
        "mergekit",
        Call("breadcrumbs", {**CRUMBS, "gamma": 0.05}),
        "mergekit masks each tensor as a whole, ours each row, as the authors' code does.",
    ),
    Comparison(
        "breadcrumbs, semantics mergekit",
        Call("breadcrumbs", {**CRUMBS, "gamma": 0.05, "semantics": "mergekit"}),
        "mergekit",
        Call("breadcrumbs", {**CRUMBS, "gamma": 0.05}),
    ),
    # on the sphere
    Comparison("slerp", Call("slerp", {"t": 0.3}), "mergekit", Call("slerp", {"t": 0.3}), contributions=1),
    Comparison(
        "slerp", Call("slerp", {"t": 0.3}), "fusion-bench", Call("slerp", {"t": 0.3}), contributions=1
    ),
    Comparison(
        "slerp",
        Call("slerp", {"t": 0.3}),
        "sd-mecha",
        Call("slerp", {"alpha": 0.3}),
        "sd-mecha interpolates directions and norms apart and has no threshold below which it goes straight.",
        contributions=1,
    ),
    Comparison(
        "nuslerp",
        Call("nuslerp", {"weight": 1.0}),
        "mergekit",
        Call("nuslerp", {"weight": 1.0}),
        contributions=2,
    ),
    Comparison(
        "multislerp",
        Call("multislerp", {"weight": 1.0}),
        "mergekit",
        Call("multislerp", {"weight": 1.0}),
        without=EMPTY_OR_SINGLE,
    ),
    Comparison(
        "karcher",
        Call("karcher"),
        "mergekit",
        Call("karcher"),
        "mergekit counts the base of its recipe among the models; without it the two agree.",
    ),
    # geometry of the updates
    Comparison(
        "model_stock, two models",
        Call("model_stock"),
        "mergekit",
        Call("model_stock"),
        STAYS,
        contributions=2,
    ),
    Comparison(
        "model_stock, two models",
        Call("model_stock"),
        "fusion-bench",
        Call("model_stock"),
        STAYS,
        contributions=2,
    ),
    Comparison("model_stock, three models", Call("model_stock"), "mergekit", Call("model_stock"), STAYS),
    Comparison(
        "model_stock, three models",
        Call("model_stock"),
        "fusion-bench",
        Call("model_stock"),
        f"FusionBench averages the angles of the pairs, ours their cosines. {STAYS}",
    ),
    Comparison(
        "model_stock, three models",
        Call("model_stock"),
        "sd-mecha",
        Call("n_model_stock"),
        "sd-mecha works row by row and looks at neighbouring models only.",
    ),
    Comparison(
        "geometric_median",
        Call("geometric_median"),
        "sd-mecha",
        Call("geometric_median"),
        "sd-mecha takes the median of each tensor by itself, ours of whole models.",
    ),
    # choice of coordinates
    Comparison(
        "magmax",
        Call("magmax", {"lambda": 0.5, "weight": 1.0}),
        "fusion-bench",
        Call("magmax", {"scaling_factor": 0.5}),
        "Of two updates as large, of opposite signs, ours takes the positive one, the peer the later.",
    ),
    Comparison(
        "consensus",
        Call("consensus", {"lambda": 0.3, "weight": 1.0, "mask_lambda": 0.4}),
        "fusion-bench",
        Call("consensus", {"mask_lambda": 0.4, "least": 2, "scale": 0.3}),
        "The peer finds its masks with the sum of the task vectors, ours with lambda times that.",
    ),
    Comparison(
        "consensus, lambda 1",
        Call("consensus", {"lambda": 1.0, "weight": 1.0, "mask_lambda": 0.4}),
        "fusion-bench",
        Call("consensus", {"mask_lambda": 0.4, "least": 2, "scale": 1.0}),
    ),
    Comparison("emr", Call("emr", {"task": 0}), "fusion-bench", Call("emr", {"task": 0})),
    # singular vectors
    Comparison("tsv_m", Call("tsv_m"), "fusion-bench", Call("tsv_m", {"alpha": 1.0})),
    Comparison("iso_c", Call("iso_c"), "fusion-bench", Call("iso_c", {"scaling_factor": 1.0})),
    Comparison(
        "iso_cts",
        Call("iso_cts"),
        "fusion-bench",
        Call("iso_cts", {"scaling_factor": 1.0, "common_space_fraction": 0.8}),
    ),
    Comparison(
        "wudi",
        Call("wudi", {"steps": 300, "exclude": "", "others": "average"}),
        "fusion-bench",
        Call("wudi", {"iter_num": 300}),
        without=("frozen.weight",),  # FusionBench divides by its length, zero, and returns NaN
    ),
)
