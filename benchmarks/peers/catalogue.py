"""Which peers there are, and what each needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DRIVERS = Path(__file__).resolve().parent / "drivers"


@dataclass(frozen=True)
class Peer:
    """One tool.

    Attributes:
        name: Its name, and that of its package.
        version: The version that is compared.
        driver: Script in `drivers/` that its interpreter runs; see `drivers/README.md` for the job it reads.
        module: What its driver imports of it; importing that is its start-up.
        requirements: What else its environment needs.
        writes_folder: Whether its output is a folder and not a file.
    """

    name: str
    version: str
    driver: str
    module: str
    requirements: tuple[str, ...] = ()
    writes_folder: bool = False

    @property
    def script(self) -> Path:
        """The driver's path."""
        return DRIVERS / self.driver


PEERS = {
    peer.name: peer
    for peer in (
        Peer("mergekit", "0.1.5", "run_mergekit.py", "mergekit.scripts.run_yaml", writes_folder=True),
        Peer("sd-mecha", "1.1.8", "run_sd_mecha.py", "sd_mecha"),
        Peer(
            "fusion-bench",
            "0.2.33",
            "run_fusion_bench.py",
            "fusion_bench.method.ties_merging.ties_merging",
            ("lightning==2.6.6", "hydra-core", "datasets", "peft==0.21.2", "transformers"),
        ),
        Peer("peft", "0.21.2", "run_peft.py", "peft.utils.merge_utils"),
    )
}
"""Every peer, by name."""


def chosen(text: str) -> list[Peer]:
    """Return the peers of an option: `all`, `none`, or names with commas between.

    Raises:
        ValueError: There is no such peer.
    """
    names = {"all": list(PEERS), "none": []}.get(text, text.split(","))
    if unknown := [name for name in names if name not in PEERS]:
        raise ValueError(f"no peer {unknown[0]!r}; expected all, none, or some of {', '.join(PEERS)}")
    return [PEERS[name] for name in names]
