"""The client shows a model what a person sees, whether it decodes an image itself or the server does."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tf_reg import _images
from tf_reg.serving.client.files import examples
from tf_reg.serving.client.server import Tensor

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype("uint8")


def saved(kind, image=None, **options):
    stream = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(stream, kind, **options)
    return stream.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved("PNG", exif=exif)


FILES = {
    "plain": (saved("PNG"), PIXELS),
    "turned": (turned(), np.rot90(PIXELS, -1)),
    "transparent": (saved("PNG", Image.fromarray(np.dstack([PIXELS, np.zeros((6, 9), "uint8")]))), 255 + 0 * PIXELS),
    "half transparent": (
        saved("PNG", Image.fromarray(np.dstack([np.zeros((6, 9, 3), "uint8"), np.full((6, 9), 51, "uint8")]))),
        204 + 0 * PIXELS,
    ),
    "webp": (saved("WEBP", lossless=True), PIXELS),
    "tiff": (saved("TIFF"), PIXELS),
}


@pytest.mark.parametrize("name", FILES)
def test_decoded_here_or_by_the_server(tmp_path, name):
    content, pixels = FILES[name]
    file = Path(tmp_path) / "image.png"
    file.write_bytes(content)
    [here] = examples(file, Tensor("float32", (None, *pixels.shape)))
    [sent] = examples(file, Tensor("string", (None,)))
    there = tf.io.decode_image(sent, channels=3, expand_animations=False).numpy()
    np.testing.assert_array_equal(here, pixels)
    np.testing.assert_array_equal(there, pixels)
    assert (sent == content) == (name == "plain")


def test_what_is_no_image(tmp_path):
    assert _images.header(b"text") is None
    with pytest.raises(ValueError, match="isn't an image of a format that is known"):
        _images.decode(b"text", 3)
    with pytest.raises(ValueError, match="it is damaged"):
        _images.decode(FILES["plain"][0][:-40], 3)
    with pytest.raises(FileNotFoundError):
        _images.decode(tmp_path / "missing.png", 3)
