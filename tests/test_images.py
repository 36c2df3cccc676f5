"""Images are decoded safely, hashed by content, and selected without being read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images import noise
from mergeward import images
from mergeward.errors import DataError
from mergeward.images import ArrayImages, FileImages, decode_image, joint_hash, to_rgb


def encoded(image: Image.Image, form: str = "png") -> bytes:
    stream = BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def picture(width: int = 9, height: int = 7) -> Image.Image:
    return Image.fromarray(noise(1, height=height, width=width)[0])


def decode(content: bytes) -> Image.Image:
    return decode_image(BytesIO(content), name="it")


@pytest.mark.parametrize("form", ["png", "bmp", "ppm", "gif", "tiff", "webp", "jpeg"])
def test_every_format_is_decoded(form: str) -> None:
    image = decode(encoded(picture(), form))
    assert (image.mode, image.size) == ("RGB", (9, 7))
    if form in {"png", "bmp", "ppm", "tiff"}:
        assert image.tobytes() == picture().tobytes()


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    stream = BytesIO()
    frames[0].save(stream, "gif", save_all=True, append_images=frames[1:])
    assert decode(stream.getvalue()).getpixel((0, 0)) == (255, 0, 0)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _header(width: int, height: int) -> bytes:
    """The start of a PNG that claims a size, with next to no pixels."""
    start = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = _chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", start) + data + _chunk(b"IEND", b"")


def _flipped(good: bytes) -> bytes:
    middle = len(good) // 2
    return good[:middle] + bytes(byte ^ 0xFF for byte in good[middle : middle + 8]) + good[middle + 8 :]


BROKEN: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"this is no image",
    "cut off": lambda: encoded(picture(60, 60))[:2000],
    "cut off jpeg": lambda: encoded(picture(60, 60), "jpeg")[:300],
    "cut off tiff": lambda: encoded(picture(60, 60), "tiff")[:60],
    "damaged": lambda: _flipped(encoded(picture(60, 60))),
    "a header alone": lambda: encoded(picture())[:33],
    "no pixels": lambda: _header(50, 50),
    "no size": lambda: _header(0, 0),
    "postscript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
    "svg": lambda: b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    "pdf": lambda: encoded(picture(), "pdf"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_image_is_refused(case: str) -> None:
    with pytest.raises(DataError, match=r"^it: cannot be decoded as an image") as caught:
        decode(BROKEN[case]())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("width", "height"), [(8001, 8000), (10_000, 10_000), (60_000, 60_000)])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(width: int, height: int) -> None:
    """Of its own bound, of Pillow's warning and of Pillow's error."""
    with pytest.raises(
        DataError, match=r"^it: (an image of 8001x8000 pixels|cannot be .*decompression bomb)"
    ):
        decode(_header(width, height))


def test_the_bound_holds_where_pillows_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(DataError, match=f"an image of 60000x60000 pixels; at most {images.MAX_PIXELS}"):
        decode(_header(60_000, 60_000))


def test_every_small_damage_gives_an_image_or_one_error() -> None:
    """Each byte of a small file changed in turn."""
    for form in ("png", "gif", "bmp", "tiff"):
        good = encoded(picture(), form)
        for place in range(len(good)):
            with suppress(DataError):
                image = decode(good[:place] + bytes([good[place] ^ 0xA5]) + good[place + 1 :])
                assert image.mode == "RGB"


def test_transparency_is_laid_on_white() -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    assert list(to_rgb(image).tobytes()) == [255, 255, 255, 255, 0, 0]


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "RGBA", "LA", "I;16", "F"])
def test_every_mode_becomes_rgb_and_stays_it(mode: str) -> None:
    image = Image.new("L", (3, 2), 128).convert("I" if mode == "I;16" else mode).convert(mode)
    once = to_rgb(image)
    assert once.mode == "RGB"
    assert to_rgb(once).tobytes() == once.tobytes()


def test_arrays_are_hashed_by_content_and_shape() -> None:
    pixels = noise(6, height=4, width=6)
    reference = ArrayImages(pixels)
    assert reference.fingerprint() == ArrayImages(np.asfortranarray(pixels)).fingerprint()
    assert reference.digests() == ArrayImages(np.asfortranarray(pixels)).digests()
    changed = pixels.copy()
    changed[3, 1, 2, 0] ^= 1
    others = [
        ArrayImages(changed),
        ArrayImages(pixels[::-1]),
        ArrayImages(pixels[:5]),
        ArrayImages(pixels.reshape(6, 6, 4, 3)),
    ]
    assert len({reference.fingerprint(), *(other.fingerprint() for other in others)}) == 5
    different = [
        first != second for first, second in zip(reference.digests(), others[0].digests(), strict=True)
    ]
    assert different == [False, False, False, True, False, False]


def test_arrays_are_decoded_and_selected_as_they_are() -> None:
    pixels = noise(6)
    content = ArrayImages(pixels)
    assert len(content) == 6
    assert np.array_equal(np.asarray(content.decode(4)), pixels[4])
    chosen = content.select(np.array([5, 0]))
    assert np.array_equal(chosen.pixels, pixels[[5, 0]])
    chosen.pixels[:] = 0
    assert content.pixels.any()


def write(folder: Path, names: list[str], seed: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in names]
    for path, pixels in zip(paths, noise(len(names), seed=seed), strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def test_files_are_hashed_by_content_and_order(tmp_path: Path) -> None:
    paths = write(tmp_path / "a", ["0.png", "1.png", "2.png"])
    reference = FileImages.of(paths)
    renamed = FileImages.of(write(tmp_path / "b", ["x.png", "y.png", "z.png"]))
    assert reference.fingerprint() == renamed.fingerprint() == joint_hash(reference.digests())
    others = [
        FileImages.of(paths[::-1]),
        FileImages.of(paths[:2]),
        FileImages.of(write(tmp_path / "c", ["0.png", "1.png", "2.png"], seed=1)),
    ]
    assert len({reference.fingerprint(), *(other.fingerprint() for other in others)}) == 4


def test_files_are_decoded_and_selected_in_order(tmp_path: Path) -> None:
    content = FileImages.of(write(tmp_path, ["0.png", "1.png", "2.png"]))
    chosen = content.select(np.array([2, 0]))
    assert len(chosen) == 2
    assert [path.name for path in chosen.paths] == ["2.png", "0.png"]
    assert chosen.digests() == (content.digests()[2], content.digests()[0])
    assert np.array_equal(np.asarray(chosen.decode(0)), noise(3)[2])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.png: cannot be read \(No such file"):
        FileImages.of([tmp_path / "gone.png"])
