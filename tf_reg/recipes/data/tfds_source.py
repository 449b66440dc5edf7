"""The image-classification sets of TensorFlow Datasets, and one clear sentence where one can't be had."""

from __future__ import annotations

import contextlib
import difflib
import functools
import logging
import os
import queue
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tf_reg.recipes.data.sources import Source, Split, decode_to, final_shape, reason
from tf_reg_cli.errors import UserError

PROBE_SECONDS = 15.0
DEFAULT_HOST = "https://storage.googleapis.com"
SHUFFLE_BUFFER = 4096  # records held to shuffle a streamed split; TFDS stores them in random order already
UNFLIPPABLE = {
    "mnist",
    "mnist_corrupted",
    "emnist",
    "kmnist",
    "binarized_mnist",
    "binary_alpha_digits",
    "cmaterdb",
    "omniglot",
    "svhn_cropped",
    "visual_domain_decathlon",
}


def open_tfds(name: str, data_dir: str | None, image_size: tuple[int, int] | None) -> Source:
    """A set of TensorFlow Datasets by its name (`"cifar10"`, `"emnist/letters"`), downloaded if need be."""
    builder = _builder(name, data_dir)
    image_key, label_key = _supervised_keys(name, builder)
    feature = builder.info.features[image_key]
    shape = final_shape(name, feature.shape, image_size)
    _prepare(name, builder)
    decode = decode_to(shape, feature.decode_example, resize=image_size is not None)
    splits = {
        split: _split(name, builder, split, image_key, decode)
        for split in ("train", "validation", "test")
        if split in builder.info.splits and builder.info.splits[split].num_examples
    }
    if "train" not in splits:
        raise UserError(f"{name} has no split named train; it has: {', '.join(builder.info.splits) or 'none'}.")
    splits = {key: split for key, split in splits.items() if key == "train" or _labelled(split)}
    return Source(
        name,
        splits["train"],
        splits.get("validation"),
        splits.get("test"),
        tuple(builder.info.features[label_key].names),
        shape,
        flippable=builder.name not in UNFLIPPABLE,
    )


def _builder(name: str, data_dir: str | None) -> Any:
    """The builder of a data set; it creates nothing and needs no network."""
    import tensorflow_datasets as tfds

    folder = data_dir or os.environ.get("TFDS_DATA_DIR") or None
    if folder and os.path.isfile(os.path.expanduser(folder)):
        raise UserError(f"--data-dir must be a folder; {folder} is a file.")
    try:
        with _quiet():
            return tfds.builder(name, data_dir=folder and os.path.expanduser(folder), try_gcs=False)
    except tfds.core.DatasetNotFoundError:
        near = difflib.get_close_matches(name.split("/")[0], ["digits", *tfds.list_builders()])
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UserError(
            f"Expected digits, folder:PATH or the name of a set of TensorFlow Datasets; got {name!r}.{hint}"
        ) from None
    except Exception as error:
        why = re.sub(r'^Failed to construct dataset .*?": |(?<=\.) Here are \d.*', "", reason(error)).strip(".")
        raise UserError(f"TensorFlow Datasets can't open {name!r}: {why}.{_configs(name)}") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep absl's warnings about folders that aren't there yet to itself."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _configs(name: str) -> str:
    import tensorflow_datasets as tfds

    base = name.split("/")[0]
    configs = list(tfds.builder_cls(base).builder_configs) if base in tfds.list_builders() else []
    return f" Its configurations: {', '.join(configs[:20])}." if configs else ""


def _supervised_keys(name: str, builder: Any) -> tuple[str, str]:
    """The keys of the image and of its class; a `UserError` where the set doesn't have exactly these."""
    import tensorflow_datasets as tfds

    keys = builder.info.supervised_keys
    features = builder.info.features
    if keys and len(keys) == 2 and all(isinstance(key, str) for key in keys):
        image, label = (features[key] for key in keys)
        image_and_class = isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel)
        if image_and_class and image.np_dtype == np.uint8 and image.shape[-1]:
            return keys
    raise UserError(
        f"{name} is not an image-classification set: expected pairs of an 8-bit image and one class; "
        f"its features are: {', '.join(sorted(features))}."
    )


def _prepare(name: str, builder: Any) -> None:
    """Download and prepare the set unless it is there; refuse at once where no network answers."""
    with _quiet():
        if builder.is_prepared():
            return
    if os.path.exists(builder.data_dir):
        raise UserError(
            f"The copy of {name} in {builder.data_dir} is incomplete: delete that folder, "
            "or point TFDS_DATA_DIR or --data-dir at a complete copy."
        )
    if not builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        _require_network(name, builder)
    import tensorflow_datasets as tfds

    try:
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    except Exception as error:
        by_hand = " ".join((builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "").split())
        raise UserError(
            f"{name} couldn't be prepared in {builder.data_dir}: {reason(error)}. {by_hand}".strip()
        ) from error


def _require_network(name: str, builder: Any) -> None:
    """A `UserError` within `PROBE_SECONDS` where no host answers: TFDS itself would retry for minutes."""
    urls = [urllib.parse.urlsplit(url) for url in builder.url_infos or ()]
    hosts = sorted({f"{url.scheme}://{url.netloc}" for url in urls})[:8] or [DEFAULT_HOST]
    problem = _unreachable(hosts)
    if problem:
        names = ", ".join(urllib.parse.urlsplit(host).netloc for host in hosts)
        raise UserError(
            f"{name} is not in {builder.data_dir} and can't be downloaded: {names} can't be reached "
            f"({problem}). Point TFDS_DATA_DIR or --data-dir at a folder with a prepared copy, or use "
            "--dataset digits, which needs no download."
        )


def _unreachable(hosts: list[str]) -> str | None:
    """Why not one of the hosts answers, or None as soon as one does."""
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for host in hosts:  # daemons: looking up a name may hang for longer than any timeout
        threading.Thread(target=lambda host=host: answers.put(_knock(host)), daemon=True).start()
    deadline = time.monotonic() + PROBE_SECONDS
    answer: str | None = None
    for _ in hosts:
        try:
            answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return f"no answer within {PROBE_SECONDS:g} s"
        if answer is None:
            break
    return answer


def _knock(host: str) -> str | None:
    """None if a host answers, be it with an error of its own; else why it doesn't."""
    try:
        with urllib.request.urlopen(f"{host}/", timeout=PROBE_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return None
    except Exception as error:
        return reason(error).removeprefix("<urlopen error ").removesuffix(">")


def _split(name: str, builder: Any, split: str, image_key: str, decode: Any) -> Split:
    """One stored split; its images stay encoded until the examples that are used have been picked."""
    size = builder.info.splits[split].num_examples
    origin = f"the split {split} of {name} in {builder.data_dir}"

    def read(indices: np.ndarray) -> tf.data.Dataset:
        records = _records(builder, split, image_key, origin)
        return records if len(indices) == size else _pick(records, indices, size)

    @functools.cache
    def all_labels() -> np.ndarray:
        labels = _records(builder, split, image_key, origin).map(lambda _, label: label).batch(4096)
        try:
            return np.concatenate([part.numpy() for part in labels])
        except tf.errors.OpError as error:
            raise UserError(f"{origin} can't be read, so it is damaged: {reason(error)}.") from error

    def read_labels(indices: np.ndarray) -> np.ndarray:
        return all_labels()[indices]

    describe = f"example {{}} of {origin}".format
    return Split(origin, np.arange(size), read, read_labels, decode, describe, SHUFFLE_BUFFER)


def _records(builder: Any, split: str, image_key: str, origin: str) -> tf.data.Dataset:
    import tensorflow_datasets as tfds

    try:
        return builder.as_dataset(
            split=split,
            as_supervised=True,
            shuffle_files=False,
            decoders={image_key: tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(try_autocache=False),
        )
    except Exception as error:
        raise UserError(f"{origin} can't be read: {reason(error)}.") from error


def _pick(records: tf.data.Dataset, indices: np.ndarray, size: int) -> tf.data.Dataset:
    """The records with these numbers, in stored order."""
    wanted = np.zeros(size, bool)
    wanted[indices] = True
    wanted = tf.constant(wanted)
    return records.enumerate().filter(lambda index, _: wanted[index]).map(lambda _, record: record)


def _labelled(split: Split) -> bool:
    """Whether a split has labels: ImageNet's own test split has -1 for each."""
    try:
        return all(label >= 0 for _, label in split.read(split.indices).take(1))
    except tf.errors.OpError:
        return True  # whoever reads the whole split reports what is damaged
