"""Whether a file of a folder is an image, and a whole one."""

from __future__ import annotations

import pathlib

import tensorflow as tf

from tf_reg import _images
from tf_reg.recipes.data.sources import reason
from tf_reg_cli.errors import UserError


def header_of(file: pathlib.Path, must_be_whole: bool = True) -> _images.Header | None:
    """What an image file says of itself; None for a file that is no image, by its name too if it must be whole."""
    try:
        header = _images.header(file)
    except OSError as error:  # it can't be opened, or it is cut off
        if must_be_whole or not file.is_file():
            raise UserError(f"{file} can't be read: {reason(error)}.") from error
        return None
    if header is None and must_be_whole and _images.NAMES.fullmatch(file.name):
        raise UserError(
            f"{file} can't be read as an image: it is damaged, or no image. Mend it, or take it away, or leave "
            "out all that are damaged by --skip-damaged."
        )
    return header


def decodes(file: pathlib.Path, header: _images.Header | None) -> bool:
    """Whether an image can be decoded; yes for a file that is no image by name and content."""
    if header is None:
        return not _images.NAMES.fullmatch(file.name)
    try:
        if header.plain:
            tf.io.decode_image(file.read_bytes(), expand_animations=False)
        else:
            _images.decode(file, 3)
    except (tf.errors.OpError, ValueError, OSError):
        return False
    return True
