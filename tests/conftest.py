"""What every test may ask for: an isolated cache, real images, a browser."""

from __future__ import annotations

import os

# huggingface_hub reads these once, when it is first imported: nothing here may reach a network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

from browser import Browser, find_browser
from plugin_packages import Package, forget
from tiny_clip import save_tiny_clip

REPOSITORY = Path(__file__).resolve().parent.parent

# The same examples on every run and machine; speed is no property under test.
hypothesis.settings.register_profile("mergeward", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("mergeward")


def _missing(what: str) -> NoReturn:
    """Skip on a developer's machine; fail where the checks must be complete."""
    if os.environ.get("CI") == "true":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root folder of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One empty artefact store for the whole session, so that tests share what is expensive to make."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MERGEWARD_CACHE", str(folder))
        yield folder


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An artefact store of this test alone."""
    folder = tmp_path / "own-cache"
    monkeypatch.setenv("MERGEWARD_CACHE", str(folder))
    return folder


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """What installs packages of plug-ins for one test."""
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    installed: list[Package] = []

    def add(*packages: Package) -> None:
        for package in packages:
            package.install(folder)
        installed.extend(packages)
        forget(installed)

    yield add
    forget(installed)


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a CLIP of a few thousand parameters with random weights; not to be written to."""
    return save_tiny_clip(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real images as `.npz`: `MERGEWARD_DATA`, else `../shared/data` beside the repository."""
    folder = Path(os.environ.get("MERGEWARD_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        _missing(f"no real images in {folder}; set MERGEWARD_DATA to the folder that holds the .npz files")
    return folder


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """A headless browser for page tests."""
    executable = find_browser()
    if executable is None:
        _missing("no chromium, chromium-browser or google-chrome on the PATH")
    return Browser(executable, tmp_path_factory.mktemp("browser"))
