"""Datasets on the hub that the papers take their tasks from, and what cannot be read off them.

The sentences are those that CLIP's authors give for each dataset (arXiv:2103.00020, section 3.1.4), which
Task Arithmetic and all that follow it classify with. Images, splits and class names are the datasets' own.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from mergeward.tasks.task import DEFAULT_TEMPLATES


@dataclass(frozen=True)
class Published:
    """What is known of a dataset.

    Attributes:
        templates: Sentences with one `{}` for the class name.
        folder: The folder of its repository that holds the task, of which only the files of the splits are
            fetched; empty where the whole is.
        label: Its column of labels, where there are several.
        revision: The commit that is taken, where one is recorded; else the newest.
    """

    templates: tuple[str, ...] = DEFAULT_TEMPLATES
    folder: str = ""
    label: str | None = None
    revision: str | None = None


def _sentences(pattern: str, *choices: tuple[str, ...]) -> tuple[str, ...]:
    """Return a sentence with every combination of words in the places of its `_`."""
    filled = (pattern.replace("_", "%s") % words for words in itertools.product(*choices))
    return tuple(" ".join(sentence.split()) for sentence in filled)


_NUMBER = ('a photo of the number: "{}".',)
_ARTICLES = ("a", "the")
_LOOKS = ("", "blurry", "black and white", "low contrast", "high contrast", "bad", "good")

PUBLISHED: Mapping[str, Published] = {
    "ylecun/mnist": Published(_NUMBER, "mnist"),
    "ufldl-stanford/svhn": Published(
        _NUMBER, "cropped_digits", revision="f9e1717d73324ebbc1ece84267ccd80d0aca0690"
    ),
    "uoft-cs/cifar100": Published(
        (
            *_sentences("a _ photo of _ {}.", _LOOKS, _ARTICLES),
            *_sentences("a photo of _ _ {}.", _ARTICLES, ("small", "big")),
        ),
        "cifar100",
        label="fine_label",
    ),
    "tanganke/stanford_cars": Published(
        (
            *_sentences("a photo of _ {}.", (*_ARTICLES, "my")),
            *_sentences("a photo of my _ {}.", ("dirty", "clean", "new", "old")),
            "i love my {}!",
        ),
        "data",
    ),
    "tanganke/resisc45": Published(
        _sentences("_ _ of _ {}.", ("satellite", "aerial"), ("imagery", "photo", "view"), ("", *_ARTICLES)),
        "data",
    ),
    "tanganke/eurosat": Published(
        _sentences("a centered satellite photo of _ {}.", ("", *_ARTICLES)), "data"
    ),
    "tanganke/dtd": Published(
        _sentences("a photo of _ {} _.", _ARTICLES, ("texture", "pattern", "thing")), "data"
    ),
    "tanganke/gtsrb": Published(
        _sentences('a _ photo of a "{}" traffic sign.', ("zoomed in", "centered", "close up")), "data"
    ),
    "tanganke/sun397": Published(_sentences("a photo of _ {}.", _ARTICLES), "data"),
    "timm/oxford-iiit-pet": Published(("a photo of a {}, a type of pet.",), "data", label="label"),
}
"""By hub id. Of any other dataset the whole repository is taken, and the plain sentences."""
