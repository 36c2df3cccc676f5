"""Makes one virtual environment for each peer.

    python benchmarks/peers/environments.py [--peers mergekit,peft] [--cache FOLDER]

An environment that is complete is left alone. The versions of torch and its companions are those of
`constraints.txt`, so that every tool computes with the same ones.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.options import default_cache
from peers.catalogue import Peer, chosen

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
SHARED = ("torch", "transformers", "safetensors", "numpy")
"""What is held to the versions in `constraints.txt`; everything else may differ between the peers."""

DONE = "complete"
"""File in a complete environment; holds what pip was asked for."""


def folder(peer: Peer, cache: Path) -> Path:
    """Return where a peer's environment is."""
    return cache / "environments" / peer.name


def interpreter(peer: Peer, cache: Path) -> Path:
    """Return the Python of a peer's environment.

    Raises:
        FileNotFoundError: The environment is not complete.
    """
    place = folder(peer, cache)
    if not complete(place, requirements(peer)):
        raise FileNotFoundError(
            f"{place}: no environment for {peer.name} {peer.version}; "
            "run python benchmarks/peers/environments.py"
        )
    return place / "bin" / "python"


def make(peer: Peer, cache: Path) -> Path:
    """Return a peer's environment, making it if it is not complete.

    Raises:
        subprocess.CalledProcessError: pip failed; it has said why.
    """
    place, wanted = folder(peer, cache), requirements(peer)
    if complete(place, wanted):
        return place
    shutil.rmtree(place, ignore_errors=True)
    venv.create(place, with_pip=True)
    constraints = place / "constraints.txt"
    constraints.write_text("\n".join(pins()), encoding="utf-8")
    command = [
        str(place / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*command, "-c", str(constraints), *wanted], check=True)  # noqa: S603 - our own requirements
    (place / DONE).write_text("\n".join(wanted), encoding="utf-8")
    return place


def requirements(peer: Peer) -> list[str]:
    """Return what pip is asked for, within `pins`."""
    return [f"{peer.name}=={peer.version}", "torch", *peer.requirements]


def complete(place: Path, wanted: Sequence[str]) -> bool:
    """Return whether an environment holds what is wanted now; a change of version makes it anew."""
    done = place / DONE
    return done.exists() and done.read_text(encoding="utf-8").splitlines() == list(wanted)


def pins(constraints: Path = CONSTRAINTS) -> list[str]:
    """Return the lines of `constraints.txt` that every environment is held to."""
    lines = constraints.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.partition("==")[0] in SHARED]


def main() -> None:
    """Make the environments that the options ask for."""
    options = argparse.ArgumentParser(description="Make a virtual environment for each peer.")
    options.add_argument("--peers", default="all", help="all, or names with commas between (%(default)s)")
    options.add_argument("--cache", type=Path, default=default_cache(), help="(%(default)s)")
    given = options.parse_args()
    for peer in chosen(given.peers):
        sys.stdout.write(f"{peer.name} {peer.version}: {make(peer, given.cache)}\n")


if __name__ == "__main__":
    main()
