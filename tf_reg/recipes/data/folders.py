"""A folder of images as a data set: its splits, its classes, and what in it is no data."""

from __future__ import annotations

import collections
import hashlib
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_reg import _images
from tf_reg.recipes.data.image_files import decodes, header_of
from tf_reg.recipes.data.sources import Source, Split, array_split, decode_to, final_shape, reason
from tf_reg_cli.errors import UserError

KINDS = "jpg, png, gif, webp, avif, bmp, tiff or ico"
SPLIT_NAMES = {
    "train": "train training trn",
    "validation": "val valid validation validate validating dev development",
    "test": "test testing tst tests eval evaluation holdout",
}
_SPLITS = {word: split for split, words in SPLIT_NAMES.items() for word in words.split()}
_ENDINGS = ("", "set", "data", "images", "split")
SYSTEM = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__"}


class Listing(NamedTuple):
    """The image files below a folder of classes.

    Args:
        files: Their paths, sorted by class and then by path.
        labels: The number of each one's class.
        headers: What each one's first bytes say.
        classes: The names of the classes.
        unread: How many other files the class folders hold, by their endings.
        loose: How many files lie beside the class folders, by their endings.
        damaged: The images that are damaged, and left out.
    """

    files: list[str]
    labels: np.ndarray
    headers: list[_images.Header]
    classes: tuple[str, ...]
    unread: collections.Counter[str]
    loose: collections.Counter[str]
    damaged: list[str]


def open_folder(
    folder: str, image_size: tuple[int, int] | None, channels: int | None = None, skip_damaged: bool = False
) -> Source:
    """A folder with one sub-folder a class, or with folders for training, validation and test that each have these.

    Nothing that is hidden or made by an operating system is data, at any depth. Every other file is an image, or is
    counted in the source's notes.

    Args:
        folder: Its path; `~` is the user's home.
        image_size: `(height, width)` in pixels, that every image is resized to.
        channels: 1 for grey images, 3 for coloured ones; if not given, 1 where all images are grey.
        skip_damaged: Whether to leave out images that are damaged, and count them. Each one is decoded to find out.

    Raises:
        UserError: The folder can't be read, has no image size, or no images in classes.
    """
    path = pathlib.Path(os.path.expanduser(folder))
    if not folder or not path.is_dir():
        problem = "is not a folder" if path.exists() else "does not exist"
        raise UserError(f"folder:PATH needs a folder of images, one sub-folder a class; {folder!r} {problem}.")
    if any(True for _ in _files(path)):
        final_shape(f"folder:{folder}", (None, None, 3), image_size)  # before all files are read
    paths, others = _split_folders(path)
    listed = {split: _list_images(where, skip_damaged) for split, where in paths.items()}
    _check_classes(paths, listed)
    headers = [header for listing in listed.values() for header in listing.headers]
    channels = channels or (1 if all(header.gray for header in headers) else 3)
    shape = final_shape(f"folder:{folder}", (None, None, channels), image_size)
    splits = {key: _split(paths[key], listing, shape) for key, listing in listed.items()}
    return Source(
        f"folder:{folder}",
        splits["train"],
        splits.get("validation"),
        splits.get("test"),
        listed["train"].classes,
        shape,
        flippable=False,
        notes=(*_notes([*listed.values()], others), *_links(path, [*listed.values()])),
    )


def equal_files(one: Split, other: Split) -> int:
    """How many files of the second split have the content of a file of the first one."""
    if one.paths is None or other.paths is None:
        return 0
    ours, theirs = (split.paths[split.indices].tolist() for split in (one, other))  # type: ignore[index]
    sizes = {os.path.getsize(path) for path in ours} & {os.path.getsize(path) for path in theirs}
    known = {_digest(path) for path in ours if os.path.getsize(path) in sizes}
    return sum(os.path.getsize(path) in sizes and _digest(path) in known for path in theirs)


def _digest(path: str) -> bytes:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def split_of(name: str) -> str | None:
    """Which split a folder's name means, in any usual spelling: `"Training_set"` is `"train"`."""
    words = re.sub(r"[^a-z]", "", name.lower())
    for ending in _ENDINGS:
        stem = words.removesuffix(ending)
        if stem in _SPLITS:
            return _SPLITS[stem]
    return None


def _split_folders(path: pathlib.Path) -> tuple[dict[str, pathlib.Path], list[str]]:
    """Which folder holds which split, and which folders hold none: `path` itself is for training if it has classes."""
    found = _sub_folders(path)
    outer = [name for name in found if split_of(name) and _sub_folders(path / name)]  # a class has images, not folders
    others = [name for name in found if name not in outer]
    splits: dict[str, str] = {}
    for name in outer:
        other = splits.setdefault(str(split_of(name)), name)
        if other != name:
            raise UserError(f"{path} has both {other} and {name}, which mean the same split: keep one of the two.")
    if not splits:
        _check_levels(path, found)
        return {"train": path}, []
    if "train" not in splits:
        raise UserError(
            f"{path} has {' and '.join(splits.values())}, but no folder for training. Name that one train, or move the "
            "classes up to hold out examples by --validation-split."
        )
    if len(splits) == 1 and any(header_of(file) for name in others for file in _files(path / name)):
        raise UserError(
            f"{path} has {splits['train']}, which holds sub-folders as a training split does, beside "
            f"{', '.join(others)}. If these are splits, name them validation and test; if all are classes, give "
            f"{splits['train']} another name."
        )
    return {split: path / name for split, name in splits.items()}, others


def _check_levels(path: pathlib.Path, classes: Sequence[str]) -> None:
    """Refuse "classes" that hold the same sub-folders and no image of their own: these are splits of unknown names."""
    inner = [_sub_folders(path / name) for name in classes]
    direct = any(True for name in classes for _ in _files(path / name, deep=False))
    if len(classes) > 1 and inner[0] and all(each == inner[0] for each in inner) and not direct:
        raise UserError(
            f"{', '.join(classes)} in {path} hold the same sub-folders ({', '.join(inner[0][:3])}) and no images of "
            "their own, so they are no classes. If they are splits, name them train, validation and test."
        )


def _is_data(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in SYSTEM


def _sub_folders(path: pathlib.Path) -> list[str]:
    try:
        return sorted(item.name for item in path.iterdir() if item.is_dir() and _is_data(item.name))
    except OSError as error:
        raise UserError(f"The folder {path} can't be read: {reason(error)}.") from error


def _files(path: pathlib.Path, deep: bool = True) -> Iterator[pathlib.Path]:
    """The files in a folder, sorted, those of its sub-folders too unless it is not to be deep."""
    for root, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if deep and _is_data(name))
        yield from (pathlib.Path(root, name) for name in sorted(names) if _is_data(name))


def _list_images(path: pathlib.Path, skip_damaged: bool) -> Listing:
    classes = _sub_folders(path)
    if len(classes) < 2:
        found = f"only one ({classes[0]})" if classes else "no sub-folder"
        found += "" if any(True for _ in _files(path)) else " and no images"
        raise UserError(f"{path} must hold at least two sub-folders, one a class; it has {found}.")
    files: list[str] = []
    labels: list[int] = []
    headers: list[_images.Header] = []
    unread: collections.Counter[str] = collections.Counter()
    damaged: list[str] = []
    for label, name in enumerate(classes):
        for file in _files(path / name):
            header = header_of(file, must_be_whole=not skip_damaged)
            if skip_damaged and not decodes(file, header):
                damaged.append(str(file))
            elif header is None:
                unread[_kind(file)] += 1
            else:
                files.append(str(file))
                labels.append(label)
                headers.append(header)
    if not files:
        raise UserError(f"{path} holds no images ({KINDS}) in its class folders.")
    empty = sorted(set(range(len(classes))) - set(labels))
    if empty:
        raise UserError(f"No image ({KINDS}) in the class folder {path / classes[empty[0]]}.")
    return Listing(files, np.array(labels), headers, tuple(classes), unread, _loose(path), damaged)


def _loose(path: pathlib.Path) -> collections.Counter[str]:
    return collections.Counter(map(_kind, _files(path, deep=False)))


def _kind(file: pathlib.Path) -> str:
    return file.suffix.lower() or file.name


def _check_classes(paths: dict[str, pathlib.Path], listed: dict[str, Listing]) -> None:
    names = listed["train"].classes
    for split, listing in listed.items():
        if listing.classes != names:
            differing = ", ".join(sorted(set(names) ^ set(listing.classes)))
            raise UserError(
                f"{paths['train']} and {paths[split]} must hold the same class folders; "
                f"only one of them has {differing}."
            )


def _notes(listings: Sequence[Listing], others: Sequence[str]) -> Iterator[str]:
    """What is to be said of a folder: what was left out, and what a person would not expect."""
    nothing: collections.Counter[str] = collections.Counter()
    unread = sum((listing.unread for listing in listings), nothing)
    loose = sum((listing.loose for listing in listings), nothing)
    deep = sum(header.deep for listing in listings for header in listing.headers)
    if others:
        yield f"Not used, beside the folders of the splits: {', '.join(others)}."
    if loose:
        yield f"Not used, as they lie in no class folder: {_counts(loose)}."
    if unread:
        yield f"Not used, as they are no images that can be read here ({KINDS}): {_counts(unread)}."
    damaged = [file for listing in listings for file in listing.damaged]
    if damaged:
        names = ", ".join(damaged[:3]) + (" and others" if len(damaged) > 3 else "")
        yield f"Left out, as they are damaged: {len(damaged)} images, {names}."
    if deep:
        yield f"{deep} images have 16 bits a channel. They are read with 8, as a screen shows them."


def _links(path: pathlib.Path, listings: Sequence[Listing]) -> Iterator[str]:
    """What is to be said of images that are read through links to other places."""
    files = [file for listing in listings for file in listing.files]
    within = os.path.join(os.path.realpath(path), "")
    through = {folder for folder in {os.path.dirname(file) for file in files} if _leads_out(folder, within)}
    out = [file for file in files if os.path.dirname(file) in through or os.path.islink(file)]
    out = [file for file in out if _leads_out(file, within)]
    if out:
        yield f"{len(out)} images lie outside {path}, where links lead to, such as {os.path.realpath(out[0])}."


def _leads_out(path: str, within: str) -> bool:
    return not os.path.realpath(path).startswith(within)


def _counts(kinds: collections.Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def _split(path: pathlib.Path, listing: Listing, shape: tuple[int, int, int]) -> Split:
    files = np.array(listing.files, dtype=object)
    records = {"file": files, "plain": np.array([header.plain for header in listing.headers])}

    def slow(file: bytes) -> np.ndarray:
        return _images.decode(pathlib.Path(os.fsdecode(file)), shape[2])

    def decode(record: Any) -> Any:
        file = record["file"]
        image = tf.cond(
            record["plain"],
            lambda: tf.io.decode_image(tf.io.read_file(file), channels=shape[2], expand_animations=False),
            lambda: tf.numpy_function(slow, [file], tf.uint8),
        )
        return tf.ensure_shape(image, (None, None, shape[2]))

    decode_image = decode_to(shape, decode, resize=True)
    origin = f"the folder {path}"
    return array_split(origin, records, listing.labels, decode_image, lambda index: str(files[index]), paths=files)
