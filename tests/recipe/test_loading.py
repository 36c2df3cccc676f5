"""Reading recipes from files, and refusing what is no recipe by the file's name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mergeward.errors import RecipeError
from mergeward.recipe import MAX_BYTES, load_recipe


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_recipe_of_mergekit_is_read(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(
            tmp_path,
            """
            merge_method: ties
            base_model: openai/clip-vit-base-patch32
            models:
              - model: somebody/one
                parameters: {weight: 0.3, density: 0.5}
              - model: somebody/two
                task: mnist
            parameters:
              lambda: 1.5
              normalize: false
            dtype: bfloat16
            seed: 7
            scope: vision
            """,
        )
    )
    assert recipe.base_model == "openai/clip-vit-base-patch32"
    assert [entry.model for entry in recipe.models] == ["somebody/one", "somebody/two"]
    assert recipe.models[0].parameters == {"weight": 0.3, "density": 0.5}
    assert (recipe.models[0].task, recipe.models[1].task) == (None, "mnist")
    assert recipe.parameters == {"lambda": 1.5, "normalize": False}
    assert (recipe.dtype, recipe.torch_dtype) == ("bfloat16", torch.bfloat16)
    assert (recipe.seed, recipe.scope, recipe.data) == (7, "vision", None)


def test_paths_are_relative_to_the_recipe_where_they_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "recipes"
    for name in ("base", "owner/here", "digits", "sets/cats"):
        (folder / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(
        write(
            folder,
            """
            merge_method: average
            base_model: base
            data: sets
            models:
              - {model: owner/here, task: digits}
              - {model: owner/elsewhere, task: sets/cats}
              - {model: hub-owner/model}
              - {model: ../recipes/base}
            """,
        )
    )
    assert recipe.base_model == str(folder / "base")
    assert [entry.model for entry in recipe.models] == [
        str(folder / "owner/here"),
        str(folder / "owner/elsewhere"),  # a mistyped path, and no name for the hub
        "hub-owner/model",
        str(folder / "../recipes/base"),
    ]  # fmt: skip
    assert [entry.task for entry in recipe.models] == ["digits", str(folder / "sets/cats"), None, None]
    assert recipe.data == str(folder / "sets")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected keys and values"),
        ("- a\n- b", "expected keys and values"),
        ("just text", "expected keys and values"),
        ("a: [", r"\(line 1\)"),
        ("seed: 1\nseed: 2", r"key 'seed' appears twice \(line 2\)"),
        ("a: &x 1\nb: *x", r"aliases .* not supported \(line 2\)"),
        ("a: !!python/object/apply:os.system ['true']", r"could not determine a constructor.*\(line 1\)"),
        ("[" * 2_000, "not readable as YAML|line"),
        ("a: \x01", "not readable as YAML"),
        ("? [a, b]\n: 1", "recipe.yaml: "),
        ("merge_method: ties\nbase_modle: x", "base_modle: unknown key; did you mean 'base_model'"),
    ],
)
def test_wrong_files_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nothing\.yaml: no such file"):
        load_recipe(tmp_path / "nothing.yaml")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(RecipeError, match=r"recipe\.yaml: not readable"):
        load_recipe(path)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(RecipeError, match=r"recipe\.yaml: larger than"):
        load_recipe(path)
