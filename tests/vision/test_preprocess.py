"""Pixels equal those of transformers' Pillow-based image processor, and are made once."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from images import noise
from mergeward.errors import CheckpointError, DataError
from mergeward.images import ArrayImages, FileImages, Pixels
from mergeward.vision import Preprocessor, preprocess
from mergeward.vision.preprocess import CLIP_MEAN, CLIP_STD, prepare

SETTINGS: dict[str, dict[str, Any]] = {
    "224": {},
    "32": {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
    "exact": {"size": {"height": 30, "width": 40}, "do_center_crop": False},
    "exact, then crop": {"size": {"height": 40, "width": 50}, "crop_size": {"height": 33, "width": 31}},
    "a crop larger than the image": {"size": {"shortest_edge": 20}, "crop_size": {"height": 41, "width": 36}},
    "crop alone": {"do_resize": False, "crop_size": {"height": 24, "width": 24}},
    "bilinear": {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}, "resample": 2},
    "own mean": {
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.3, 0.4],
    },
    "not normalised": {
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
        "do_normalize": False,
    },
}

SIZES = [(64, 64), (32, 32), (224, 224), (50, 37), (37, 50), (301, 199), (1, 1), (1, 7), (3, 2), (5, 200)]


def pillow_processor(**settings: Any) -> Any:
    """Transformers' image processor that works on Pillow images, where its version keeps it."""
    for module, name in (
        ("image_processing_pil_clip", "CLIPImageProcessorPil"),
        ("image_processing_clip", "CLIPImageProcessor"),
    ):
        try:
            found = getattr(importlib.import_module(f"transformers.models.clip.{module}"), name)
        except ImportError:
            continue
        return found(**settings)
    raise AssertionError("this version of transformers has no Pillow-based CLIP image processor")


def random_image(mode: str, width: int, height: int) -> Image.Image:
    pixels = noise(1, height=height, width=width, seed=width * 1000 + height)[0]
    alpha = noise(1, height=height, width=width, seed=9)[0][..., :1]
    if mode == "RGBA":
        return Image.fromarray(np.concatenate([pixels, alpha], axis=2))
    if mode == "LA":
        return Image.fromarray(np.concatenate([pixels[..., :1], alpha], axis=2))
    if mode == "P, transparent":
        image = Image.fromarray(pixels).quantize(16)
        image.info["transparency"] = 3
        return image
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
    return Image.fromarray(pixels).convert(mode)


MODES = ["RGB", "L", "1", "P", "CMYK", "RGBA", "LA", "P, transparent", "I;16"]


def assert_parity(preprocessor: Preprocessor, processor: Any, image: Image.Image) -> None:
    expected = np.asarray(processor(image, return_tensors="np")["pixel_values"][0])
    pixels = preprocessor.apply(image)
    assert pixels.dtype == np.uint8
    mean, std = (np.array(values)[:, None, None] for values in (preprocessor.mean, preprocessor.std))
    np.testing.assert_allclose((pixels / 255 - mean) / std, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_size_gives_the_pixels_of_transformers(
    settings: str, size: tuple[int, int], tmp_path: Path
) -> None:
    processor = pillow_processor(**SETTINGS[settings])
    processor.save_pretrained(tmp_path)
    assert_parity(Preprocessor.from_folder(tmp_path), processor, random_image("RGB", *size))


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_pixels_of_transformers(mode: str) -> None:
    processor = pillow_processor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    assert_parity(Preprocessor(32, (32, 32)), processor, random_image(mode, 41, 53))


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "P, transparent", "I;16"])
def test_files_give_the_pixels_of_transformers(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    random_image(mode, 41, 53).save(path)
    processor = pillow_processor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    with Image.open(path) as image:
        expected = processor(image, return_tensors="np")["pixel_values"][0]
    pixels = prepare(FileImages.of([path]), Preprocessor(32, (32, 32)))[0].numpy()
    mean, std = (np.array(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    np.testing.assert_allclose((pixels / 255 - mean) / std, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_survive_being_written(settings: str, tmp_path: Path) -> None:
    pillow_processor(**SETTINGS[settings]).save_pretrained(tmp_path)
    read = Preprocessor.from_folder(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(read.to_config()))
    assert Preprocessor.from_folder(tmp_path) == read
    again = pillow_processor(**{k: v for k, v in read.to_config().items() if k != "image_processor_type"})
    assert_parity(read, again, random_image("RGB", 50, 37))


def test_sizes_as_older_configurations_have_them(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text('{"size": 224, "crop_size": 224, "resample": 3}')
    assert Preprocessor.from_folder(tmp_path) == Preprocessor(resize=224, crop=(224, 224))


def test_what_is_not_given_is_as_in_transformers(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text("{}")
    assert_parity(Preprocessor.from_folder(tmp_path), pillow_processor(), random_image("RGB", 50, 37))


def test_settings_within_those_of_a_whole_processor_go_first(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text('{"size": 224, "crop_size": 224}')
    (tmp_path / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
    assert Preprocessor.from_folder(tmp_path).resize == 224
    nested = {"image_processor": {"size": {"shortest_edge": 32}, "crop_size": 32}}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    assert Preprocessor.from_folder(tmp_path).resize == 32
    (tmp_path / "preprocessor_config.json").unlink()
    assert Preprocessor.from_folder(tmp_path).crop == (32, 32)


@pytest.mark.parametrize(
    "content",
    [
        '{"size": {"longest_edge": 224}}',
        '{"size": {"shortest_edge": 224, "longest_edge": 448}}',
        '{"size": "224"}',
        '{"size": 0}',
        '{"size": -224}',
        '{"size": {"height": 224}, "crop_size": 224}',
        '{"crop_size": {"shortest_edge": 224}}',
        '{"crop_size": 0}',
        '{"do_center_crop": false}',
        '{"do_center_crop": false, "do_resize": false}',
        '{"do_rescale": false}',
        '{"rescale_factor": 1}',
        '{"resample": 77}',
        '{"image_mean": [0.5]}',
        '{"image_mean": 0.5}',
        '{"image_std": [0.5, 0.5, "x"]}',
        '{"image_std": [0.5, 0.5, 0]}',
    ],
)
def test_settings_of_another_form_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(
        CheckpointError, match=r"preprocessor_config.json: not a CLIP image processor"
    ) as caught:
        Preprocessor.from_folder(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[1]", "null", '{"size": 1, "size": 2}'])
def test_a_file_that_is_no_object_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
        Preprocessor.from_folder(tmp_path)


def test_an_image_too_thin_to_be_resized_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "thin.png"
    Image.new("L", (1, 50_000)).save(path)
    with pytest.raises(
        DataError, match="photos, image 0: an image of 1x50000 would be resized to 224x11200000"
    ):
        prepare(FileImages.of([path]), Preprocessor(224, (224, 224)), "photos")


class Counted:
    """Images that remember what was decoded."""

    def __init__(self, pixels: Pixels) -> None:
        self.array = ArrayImages(pixels)
        self.decoded: list[int] = []

    def __len__(self) -> int:
        return len(self.array)

    def decode(self, index: int) -> Image.Image:
        self.decoded.append(index)
        return self.array.decode(index)

    def fingerprint(self) -> str:
        return self.array.fingerprint()


def test_every_image_is_decoded_once_ever(empty_cache: Path) -> None:
    images = Counted(noise(5, height=20, width=30))
    preprocessor = Preprocessor(16, (16, 16))
    first = prepare(images, preprocessor)
    assert images.decoded == [0, 1, 2, 3, 4]
    again = Counted(noise(5, height=20, width=30))
    second = prepare(again, preprocessor)
    assert again.decoded == []
    assert first.shape == (5, 3, 16, 16)
    assert first.dtype == torch.uint8
    assert torch.equal(first, second)
    for index in range(5):
        assert np.array_equal(first[index].numpy(), preprocessor.apply(images.array.decode(index)))


def test_other_images_and_other_settings_are_not_taken_from_the_cache(empty_cache: Path) -> None:
    images = ArrayImages(noise(2, height=20, width=30))
    reference = prepare(images, Preprocessor(16, (16, 16)))
    for other, preprocessor in (
        (ArrayImages(noise(2, height=20, width=30, seed=1)), Preprocessor(16, (16, 16))),
        (images, Preprocessor(17, (16, 16))),
        (images, Preprocessor((16, 16), None)),
        (images, Preprocessor(16, (16, 16), resample=2)),
    ):
        made = prepare(other, preprocessor)
        assert np.array_equal(made[1].numpy(), preprocessor.apply(other.decode(1)))
        assert not torch.equal(made, reference)


def test_settings_of_the_encoder_do_not_decode_again(empty_cache: Path) -> None:
    images = Counted(noise(2, height=20, width=30))
    prepare(images, Preprocessor(16, (16, 16)))
    prepare(images, Preprocessor(16, (16, 16), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
    assert images.decoded == [0, 1]


READY = [
    ((16, 16), Preprocessor(16, (16, 16)), True),
    ((16, 16), Preprocessor((16, 16), None), True),
    ((16, 16), Preprocessor(None, (16, 16)), True),
    ((16, 24), Preprocessor((16, 24), None), True),
    ((16, 24), Preprocessor(16, (16, 24)), True),
    ((16, 16), Preprocessor(32, (32, 32)), False),
    ((16, 16), Preprocessor(20, (16, 16)), False),
    ((16, 16), Preprocessor(16, (12, 12)), False),
    ((16, 24), Preprocessor(16, (16, 16)), False),
    ((24, 16), Preprocessor((16, 24), None), False),
    ((16, 24), Preprocessor((16, 16), None), False),
]


@pytest.mark.parametrize(("size", "preprocessor", "ready"), READY, ids=str)
def test_arrays_are_used_as_they_are_only_where_nothing_would_change(
    size: tuple[int, int], preprocessor: Preprocessor, ready: bool, empty_cache: Path
) -> None:
    images = ArrayImages(noise(3, height=size[0], width=size[1]))
    pixels = prepare(images, preprocessor)
    assert (not empty_cache.exists()) == ready
    expected = np.stack([preprocessor.apply(images.decode(index)) for index in range(3)])
    assert np.array_equal(pixels.numpy(), expected)


def test_pixels_are_a_copy_that_may_be_written_to() -> None:
    images = ArrayImages(noise(3, height=16, width=16))
    before = images.pixels.copy()
    prepare(images, Preprocessor(16, (16, 16))).zero_()
    assert np.array_equal(images.pixels, before)


def test_no_images_give_no_pixels(empty_cache: Path) -> None:
    for side in (16, 20):
        pixels = prepare(ArrayImages(noise(0, height=side, width=side)), Preprocessor(16, (16, 16)))
        assert pixels.shape == (0, 3, 16, 16)


def test_nothing_is_cached_of_images_that_cannot_be_decoded(tmp_path: Path, empty_cache: Path) -> None:
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    Image.fromarray(noise(1)[0]).save(paths[0])
    paths[1].write_bytes(b"not an image")
    for _ in range(2):
        with pytest.raises(DataError, match=r"1\.png: cannot be decoded as an image"):
            prepare(FileImages.of(paths), Preprocessor(16, (16, 16)))
    assert not [path for path in (empty_cache / "pixels").iterdir() if path.is_dir()]


def test_images_of_many_sizes_need_a_preprocessor_of_one_size() -> None:
    with pytest.raises(DataError, match="photos: the preprocessor makes images of any size"):
        prepare(ArrayImages(noise(2, height=5, width=9)), Preprocessor(16, None), "photos")


def test_a_decoded_image_is_reported(monkeypatch: pytest.MonkeyPatch, empty_cache: Path) -> None:
    labels: list[str] = []

    def track(items: range, label: str) -> range:
        labels.append(label)
        return items

    monkeypatch.setattr(preprocess, "track", track)
    prepare(ArrayImages(noise(2, height=5, width=9)), Preprocessor(16, (16, 16)), "photos test")
    assert labels == ["decode photos test"]
