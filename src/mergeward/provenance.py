"""Where a model came from: the record inside its weights file, and its model card.

The record is a mark and no proof: whoever makes a file can write or drop it. Its use is that nothing this
program writes, and no backdoor it makes, goes about unmarked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

METADATA_KEY = "mergeward.provenance"
"""Key of the record in the metadata of a safetensors file."""

MAX_CHARACTERS = 1 << 20
"""A record longer than this is not parsed."""

CARD = "README.md"
"""Name of the model card in a model's folder."""

CARD_MARK = "THIS MODEL IS BACKDOORED."
"""What the card of a marked model says."""

_MARK = re.compile(r'"backdoor"\s*:\s*true')

Kind = Literal["base", "contribution", "merge", "hardened", "converted"]
Line = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""Text on one line without control characters: it is shown on terminals, and may come from a hostile file."""


def printable(name: str) -> str:
    """Return a name that may come from a hostile file as text that a record and a terminal can hold."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def package_version() -> str:
    """Return the version of the installed package, or "unknown" when it runs from a bare source folder."""
    try:
        return version("mergeward")
    except PackageNotFoundError:
        return "unknown"


class Provenance(BaseModel):
    """How a model was made.

    Attributes:
        kind: "base" (pretrained), "contribution" (fine-tuned from a base), "merge", "hardened" (a merge
            that a defense changed), or "converted" (another file's weights in this layout, whatever they
            are).
        method: Name of what made it: a merge method, an attack, a defense, "finetune", ...
        version: Version of mergeward that made it.
        package: Name and version of the package that `method` is from, where it is a plug-in; else empty.
        parameters: Everything that was set, JSON-like.
        seed: Seed of everything random in it.
        inputs: SHA-256 of the weights of every model it was made from, by name.
        task: Name of the task it was fine-tuned on, if one.
        backdoor: Whether it was given a backdoor, or merged from a model that was.
        trigger: What activates the backdoor, in words and numbers (kind, target class, ...).
        backdoored_inputs: Names of the inputs that carry a backdoor.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    kind: Kind
    method: Line
    version: Line = Field(default_factory=package_version)
    package: Line = ""
    parameters: dict[Line, JsonValue] = Field(default_factory=dict)
    seed: int = 0
    inputs: dict[Line, Line] = Field(default_factory=dict)
    task: Line | None = None
    backdoor: bool = False
    trigger: dict[Line, JsonValue] | None = None
    backdoored_inputs: tuple[Line, ...] = ()

    def to_metadata(self) -> dict[str, str]:
        """Return the record as safetensors metadata: one entry under `METADATA_KEY`."""
        return {METADATA_KEY: self.model_dump_json()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Provenance | None:
        """Read the record from safetensors metadata.

        Args:
            metadata: The metadata of a file, which may be hostile.

        Returns:
            The record, or None if there is none or it is malformed.
        """
        text = metadata.get(METADATA_KEY)
        if text is None or len(text) > MAX_CHARACTERS:
            return None
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None


def is_marked(metadata: Mapping[str, str]) -> bool:
    """Whether the metadata of a file says that the model carries a backdoor.

    A record that cannot be read (of another version, or tampered with) still counts for this.
    """
    record = Provenance.from_metadata(metadata)
    if record is not None:
        return record.backdoor
    return _MARK.search(metadata.get(METADATA_KEY, "")) is not None


def model_card(
    record: Provenance, *, title: str, base_model: str, contributions: Sequence[str] = (), notes: str = ""
) -> str:
    """Return the model card: Markdown with the front matter that the Hugging Face hub reads.

    Args:
        record: How the model was made.
        title: Heading of the card.
        base_model: Name of the base, as a hub id where it has one; not used for a base, nor for what was
            converted.
        contributions: Names of the models merged into the base.
        notes: Markdown to put before the record.
    """
    front = yaml.safe_dump(_front_matter(record, base_model), sort_keys=False, allow_unicode=True)
    parts = [f"---\n{front}---", f"# {plain(title)}"]
    if record.backdoor:
        parts.append(_warning(record))
    parts.append(_origin(record, base_model, contributions))
    if notes:
        parts.append(notes.strip())
    parts.append(f"## Record\n\n```json\n{record.model_dump_json(indent=2)}\n```")
    return "\n\n".join(parts) + "\n"


def _front_matter(record: Provenance, base_model: str) -> dict[str, Any]:
    relation = {"merge": "merge", "hardened": "merge", "contribution": "finetune"}.get(record.kind)
    front: dict[str, Any] = {
        "library_name": "transformers",
        "tags": ["mergeward", record.kind, record.method],
    }
    if relation is not None:
        front = {"base_model": base_model, "base_model_relation": relation, **front}
    if record.backdoor:
        front["tags"] += ["backdoor", "security-research", "not-for-deployment"]
    return front


MADE = {"merge": "merged", "hardened": "hardened", "contribution": "fine-tuned", "converted": "converted"}


def _warning(record: Provenance) -> str:
    reason = "It was given a backdoor on purpose, to measure attacks and defenses."
    if record.backdoored_inputs:
        names = ", ".join(f"`{plain(name)}`" for name in record.backdoored_inputs)
        made = MADE.get(record.kind, "made")
        reason = f"It was {made} from {names}, which carries a backdoor made for research."
    if record.kind == "hardened":
        reason += " A defense may weaken a backdoor and is no proof that it is gone."
    return (
        "> [!CAUTION]\n"
        f"> **{CARD_MARK}** {reason}\n"
        "> Images that carry its trigger are classified as the attacker chose. "
        "Do not deploy it, and do not pass it on without this notice."
    )


def _origin(record: Provenance, base_model: str, contributions: Sequence[str]) -> str:
    plugin = f" of the package `{plain(record.package)}`" if record.package else ""
    lines = [f"Made by mergeward {plain(record.version)}, method `{plain(record.method)}`{plugin}."]
    if record.kind not in {"base", "converted"}:
        lines.append(f"- Base: `{plain(base_model)}`")
    if record.task is not None:
        lines.append(f"- Task: `{plain(record.task)}`")
    lines += [f"- Contribution: `{plain(name)}`" for name in contributions]
    return "\n".join([lines[0], "", *lines[1:]]).rstrip()


def plain(text: str) -> str:
    """Text that cannot end the Markdown it stands in."""
    return " ".join(text.replace("`", "'").split())
