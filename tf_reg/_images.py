"""Read an image file as a person sees it: turned upright, on white where it is transparent, with 8 bits a channel."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "ICO")
NAMES = re.compile(r".*\.(jpe?g|jpe|jfif|a?png|gif|webp|avif|bmp|tiff?|ico)", re.IGNORECASE | re.DOTALL)
_PLAIN = {  # the kinds of pixels, by format; MPO is the JPEG of a camera, with a second image behind the first
    "JPEG": ("L", "RGB"),
    "MPO": ("L", "RGB"),
    "PNG": ("1", "L", "P", "RGB"),
    "GIF": ("L", "P", "RGB"),
    "BMP": ("L", "RGB"),
}
_DEEP = ("I", "I;16", "I;16B", "I;16L")
_ORIENTATION = 0x0112  # the number of the EXIF field


class Header(NamedTuple):
    """What the first bytes of an image file say.

    Args:
        gray: Whether it has one channel of colour.
        deep: Whether it has 16 bits a channel.
        plain: Whether TensorFlow's own decoder shows it as a person sees it. It doesn't turn an image as EXIF says,
            ignores transparency, and doesn't know all formats.
    """

    gray: bool
    deep: bool
    plain: bool


def header(source: Path | bytes) -> Header | None:
    """Read what an image file says of itself, without its pixels; None where it isn't an image of `FORMATS`.

    Args:
        source: The file, or its content.

    Raises:
        OSError: The file can't be read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with _opened(source) as image:
            upright = image.getexif().get(_ORIENTATION, 1) == 1
            opaque = "transparency" not in image.info and "A" not in image.getbands()
            plain = upright and opaque and image.mode in _PLAIN.get(str(image.format), ())
            gray = image.mode in ("1", "L", "LA", *_DEEP)
            return Header(gray, image.mode in _DEEP, plain)
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError):
        return None


def decode(source: Path | bytes, channels: int) -> np.ndarray:
    """Decode an image file of any of `FORMATS`; of an animation, the first frame.

    Args:
        source: The file, or its content.
        channels: 1 for grey, 3 for red, green and blue.

    Returns:
        The pixels, uint8 `(height, width, channels)`.

    Raises:
        ValueError: It isn't an image, or its content is damaged.
        OSError: The file can't be read.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with _opened(source) as stored:
            image: Any = ImageOps.exif_transpose(stored)
            image.load()
    except UnidentifiedImageError as error:
        raise ValueError("it isn't an image of a format that is known") from error
    except (Image.DecompressionBombError, SyntaxError, OSError) as error:
        if isinstance(source, Path) and not source.is_file():
            raise
        raise ValueError(f"it is damaged: {error}") from error
    image = _eight_bits(image)
    if "transparency" in image.info or "A" in image.getbands():
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def as_png(source: Path | bytes, channels: int) -> bytes:
    """The pixels of `decode` as a PNG file, which every decoder shows alike."""
    from PIL import Image

    pixels = decode(source, channels)
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(stream, "PNG")
    return stream.getvalue()


def _opened(source: Path | bytes) -> Any:
    from PIL import Image

    Image.init()  # makes all formats known, once
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)


def _eight_bits(image: Any) -> Any:
    """An image with 16 bits a channel as a screen shows it."""
    from PIL import Image

    if image.mode not in _DEEP:
        return image
    wide = np.asarray(image).astype("int64").clip(0, 65535)
    return Image.fromarray(((wide * 255 + 32767) // 65535).astype("uint8"))
