"""Every example exactly once, the same batches for the same seed, exact statistics, one sentence a mistake."""

from __future__ import annotations

import collections
import io
import shutil
import sys
import threading
import time
import urllib.error
import urllib.request

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from tf_reg.recipes.data import image_data, tfds_source
from tf_reg_cli.errors import UserError

CLASSES = ("cat", "dog", "owl")


def arrays(dataset):
    """All images and all labels of a pipeline, in its order."""
    images, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def examples(*datasets):
    """How often each (image, label) occurs in these pipelines."""
    return collections.Counter(
        (image.tobytes(), int(label.argmax()))
        for dataset in datasets
        for image, label in zip(*arrays(dataset), strict=True)
    )


def assert_same(one, other):
    for left, right in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(left, right)


def write_classes(folder, count, offset=0, classes=CLASSES):
    """`count` constant PNGs of varying size a class; example k's colour is (k, class, 7)."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for k in range(offset, offset + count):
            image = np.tile(np.array([k, label, 7], "uint8"), (3 + k % 3, 4, 1))
            keras.utils.save_img(folder / name / f"{k:03}.png", image, scale=False)
    return folder


def colours(dataset):
    """The k of every example of `write_classes`, after a check that its colour and label agree."""
    images, labels = arrays(dataset)
    np.testing.assert_array_equal(images, np.broadcast_to(images[:, :1, :1], images.shape))
    np.testing.assert_array_equal(images[:, 0, 0, 1], labels.argmax(1))
    assert set(images[:, 0, 0, 2]) == {7}
    return sorted(images[:, 0, 0, 0].tolist())


def make_builder(class_name, splits, shape=(4, 4, 3), labelled=None, fails=None):
    """A set of TensorFlow Datasets, registered by its name; only the splits in `labelled` have labels."""
    import tensorflow_datasets as tfds

    def info(self):
        features = {
            "image": tfds.features.Image(shape=shape),
            "label": tfds.features.ClassLabel(names=CLASSES),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def generate(self, split, size):
        for k in range(size):
            pixels = np.full([side or 2 + k % 3 for side in shape], k, "uint8")
            yield k, {"image": pixels, "label": k % 3 if labelled is None or split in labelled else -1}

    def split_generators(self, dl_manager):
        if fails:
            raise fails
        return {split: generate(self, split, size) for split, size in splits.items()}

    members = {"_info": info, "_split_generators": split_generators, "_generate_examples": generate}
    members |= {"VERSION": tfds.core.Version("1.0.0"), "__module__": __name__, "url_infos": None}
    return type(class_name, (tfds.core.GeneratorBasedBuilder,), members)


@pytest.fixture
def online(monkeypatch):
    """The probe finds a network, whether there is one or not."""
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO())


@pytest.fixture(scope="module")
def digits():
    return image_data.load("digits", batch_size=100)


def test_digits_batches_have_the_promised_shapes_and_types(digits):
    for dataset in (digits.train, digits.train_eval, digits.validation, digits.test):
        images, labels = next(iter(dataset))
        assert images.shape == (100, 8, 8, 1)
        assert images.dtype == tf.uint8
        assert labels.shape == (100, 10)
        assert labels.dtype == tf.float32
        np.testing.assert_array_equal(np.sort(labels, 1)[:, -2:], [[0, 1]] * 100)
    assert digits.class_names == tuple("0123456789")
    assert digits.image_shape == (8, 8, 1)
    assert not digits.flippable


def test_digits_are_every_image_once_and_scaled_to_255(digits):
    bunch = load_digits()
    expected = collections.Counter(
        (np.round(image * 255 / 16).astype("uint8").tobytes(), int(label))
        for image, label in zip(bunch.images, bunch.target, strict=True)
    )
    assert examples(digits.train, digits.validation, digits.test) == expected
    assert (digits.train_size, digits.validation_size, digits.test_size) == (1293, 144, 360)


def test_digits_test_split_is_stratified(digits):
    per_class = arrays(digits.test)[1].sum(0)
    assert per_class.min() >= 34
    assert per_class.max() <= 38


def test_digits_need_no_tensorflow_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert image_data.load("digits").train_size == 1293
    with pytest.raises(ImportError):
        image_data.load("fashion_mnist")


@pytest.mark.parametrize("limit", [2**30, 0], ids=["in memory", "streamed"])
@pytest.mark.parametrize("batch_size", [1, 97, 5000])
def test_no_example_is_dropped(monkeypatch, limit, batch_size):
    monkeypatch.setattr(image_data, "MEMORY_LIMIT", limit)
    loaded = image_data.load("digits", batch_size=batch_size, train_size=200)
    sizes = (loaded.train_size, loaded.train_size, loaded.validation_size, loaded.test_size)
    assert sizes == (200, 200, 144, 360)
    for dataset, size in zip((loaded.train, loaded.train_eval, loaded.validation, loaded.test), sizes, strict=True):
        batches = [len(labels) for _, labels in dataset]
        assert sum(batches) == size
        assert set(batches[:-1]) <= {batch_size}
        assert dataset.cardinality() == len(batches)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [2**30, 0], ids=["in memory", "streamed"])
def test_the_seed_fixes_every_batch_of_every_epoch(monkeypatch, limit):
    monkeypatch.setattr(image_data, "MEMORY_LIMIT", limit)
    one, same, other = (image_data.load("digits", batch_size=50, seed=seed) for seed in (3, 3, 4))
    first, second = arrays(one.train), arrays(one.train)
    assert not np.array_equal(first[0], second[0])
    for epoch in (first, second):
        for left, right in zip(epoch, arrays(same.train), strict=True):
            np.testing.assert_array_equal(left, right)
    assert examples(one.train) == examples(one.train_eval)
    assert_same(one.train_eval, one.train_eval)
    assert_same(one.validation, same.validation)
    assert examples(one.validation) != examples(other.validation)
    assert_same(one.test, other.test)


def test_mean_and_variance_are_those_of_the_training_pixels(digits):
    pixels = arrays(digits.train_eval)[0].astype("float64")
    np.testing.assert_allclose(digits.mean, [pixels.mean()], rtol=1e-14)
    np.testing.assert_allclose(digits.variance, [pixels.var()], rtol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["digits", "folder", "tfds"])
def test_streaming_changes_nothing_but_the_order_of_training(monkeypatch, tmp_path, online, source):
    if source == "tfds":
        make_builder("StreamedSet", {"train": 60, "test": 9})
    names = {
        "digits": "digits",
        "folder": f"folder:{write_classes(tmp_path / 'f', 12)}",
        "tfds": "streamed_set",
    }
    kwargs = {"image_size": 5, "train_size": 15, "data_dir": str(tmp_path / "tfds"), "batch_size": 4}
    held = image_data.load(names[source], **kwargs)
    monkeypatch.setattr(image_data, "MEMORY_LIMIT", 4 * 5 * 5)
    streamed = image_data.load(names[source], **kwargs)
    assert examples(streamed.train) == examples(held.train)
    for split in ("train_eval", "validation", "test"):
        assert_same(getattr(streamed, split), getattr(held, split))
    assert (streamed.mean, streamed.variance) == (held.mean, held.variance)
    assert streamed.train_size == held.train_size == 15


def test_a_smaller_training_set_is_part_of_a_larger_one_and_keeps_the_validation_set(digits):
    small, large = (image_data.load("digits", train_size=size) for size in (50, 300))
    assert (small.train_size, large.train_size) == (50, 300)
    assert examples(small.train) <= examples(large.train) <= examples(digits.train)
    assert_same(small.validation, digits.validation)


@pytest.mark.parametrize(("image_size", "shape"), [(16, (16, 16, 1)), ((4, 6), (4, 6, 1)), ([9, 3], (9, 3, 1))])
def test_image_size_resizes(image_size, shape):
    loaded = image_data.load("digits", image_size=image_size)
    images, _ = next(iter(loaded.test))
    assert loaded.image_shape == images.shape[1:] == shape
    assert images.dtype == tf.uint8


def test_resizing_rounds_and_the_same_size_changes_nothing(digits):
    assert_same(image_data.load("digits", image_size=8).test, digits.test)
    bigger = arrays(image_data.load("digits", image_size=16, batch_size=100).test)[0]
    exact = tf.image.resize(arrays(digits.test)[0], (16, 16), antialias=True).numpy()
    assert np.abs(bigger - exact).max() <= 0.5


@pytest.mark.slow
def test_fashion_mnist(fashion_mnist_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", fashion_mnist_dir)
    monkeypatch.setattr(urllib.request, "urlopen", None)  # a prepared copy needs no network
    loaded = image_data.load("fashion_mnist", batch_size=1000)
    assert (loaded.train_size, loaded.validation_size, loaded.test_size) == (54000, 6000, 10000)
    assert loaded.image_shape == (28, 28, 1)
    assert loaded.class_names[-1] == "Ankle boot"
    assert loaded.flippable
    training, labels = arrays(loaded.train_eval)
    np.testing.assert_allclose(loaded.mean, [training.mean(dtype="float64")], rtol=1e-13)
    np.testing.assert_allclose(loaded.variance, [training.var(dtype="float64")], rtol=1e-12)
    per_class = labels.sum(0) + arrays(loaded.validation)[1].sum(0)
    np.testing.assert_array_equal(per_class, [6000] * 10)
    np.testing.assert_array_equal(arrays(loaded.test)[1].sum(0), [1000] * 10)


def test_every_set_that_must_not_be_mirrored_exists():
    import tensorflow_datasets as tfds

    assert set(tfds.list_builders()) >= tfds_source.UNFLIPPABLE


def test_a_folder_is_cut_in_three(tmp_path):
    loaded = image_data.load(f"folder:{write_classes(tmp_path / 'pets', 10)}", image_size=4, batch_size=7)
    assert loaded.class_names == CLASSES
    assert not loaded.flippable
    assert (loaded.train_size, loaded.validation_size, loaded.test_size) == (22, 2, 6)
    held = [colours(dataset) for dataset in (loaded.train, loaded.validation, loaded.test)]
    assert sorted(held[0] + held[1] + held[2]) == sorted([*range(10)] * 3)
    np.testing.assert_allclose(loaded.mean[0], np.mean(held[0]), rtol=1e-14)
    assert (loaded.mean[2], loaded.variance[2]) == (7, 0)


def test_the_test_split_is_the_same_for_every_seed(tmp_path):
    folder = write_classes(tmp_path / "pets", 10)
    one, other = (image_data.load(f"folder:{folder}", image_size=4, seed=seed) for seed in (0, 1))
    assert_same(one.test, other.test)
    assert examples(one.validation) != examples(other.validation)


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_a_folder_laid_out_as_imagenet_keeps_its_own_splits(tmp_path, validation):
    for k, split in enumerate(("train", validation, "test")):
        write_classes(tmp_path / split, 4, offset=10 * k)
    loaded = image_data.load(f"folder:{tmp_path}", image_size=(4, 4), validation_split=0.5)
    assert colours(loaded.train) == sorted([0, 1, 2, 3] * 3)
    assert colours(loaded.validation) == sorted([10, 11, 12, 13] * 3)
    assert colours(loaded.test) == sorted([20, 21, 22, 23] * 3)


def test_a_validation_folder_without_a_test_folder_becomes_the_test_split(tmp_path):
    write_classes(tmp_path / "train", 4)
    write_classes(tmp_path / "val", 2, offset=10)
    loaded = image_data.load(f"folder:{tmp_path}", image_size=4, validation_split=0.25)
    assert (loaded.train_size, loaded.validation_size) == (9, 3)
    assert colours(loaded.test) == sorted([10, 11] * 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("class_name", "splits", "labelled", "sizes"),
    [
        ("AllSplits", {"train": 30, "validation": 6, "test": 9}, None, (30, 6, 9)),
        ("NoTest", {"train": 30, "validation": 6}, None, (27, 3, 6)),
        ("OnlyTrain", {"train": 30}, None, (22, 2, 6)),
        ("UnlabelledTest", {"train": 30, "validation": 6, "test": 9}, {"train", "validation"}, (27, 3, 6)),
    ],
)
def test_the_owners_splits_are_used(tmp_path, online, class_name, splits, labelled, sizes):
    builder = make_builder(class_name, splits, labelled=labelled)
    loaded = image_data.load(builder.name, data_dir=str(tmp_path / "new"))
    assert (loaded.train_size, loaded.validation_size, loaded.test_size) == sizes
    images, labels = arrays(loaded.test)
    np.testing.assert_array_equal(images[:, 0, 0, 0] % 3, labels.argmax(1))
    assert (tmp_path / "new" / builder.name / "1.0.0" / "dataset_info.json").is_file()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"dataset": ""}, r"dataset must be digits, folder:PATH or a name of TensorFlow Datasets; got ''"),
        ({"dataset": 3}, r"dataset must be .*; got 3"),
        ({"batch_size": 0}, r"batch_size must be a whole number of at least 1; got 0"),
        ({"batch_size": 2.5}, r"batch_size .* got 2.5"),
        ({"validation_split": 0}, r"validation_split must lie between 0 and 1, both excluded; got 0"),
        ({"validation_split": 1.0}, r"validation_split .* got 1.0"),
        ({"validation_split": "a"}, r"validation_split .* got 'a'"),
        ({"validation_split": float("nan")}, r"validation_split .* got nan"),
        ({"validation_split": 0.0001}, r"1437 training examples of digits .* two parts of 1437 and 0"),
        ({"train_size": 0}, r"train_size must be a whole number of at least 1"),
        ({"train_size": 9}, r"train_size must lie between 10 \(the classes of digits\) and 1293 .*; got 9"),
        ({"train_size": 1294}, r"and 1293 \(what is left for training\); got 1294"),
        ({"seed": -1}, r"seed must be a whole number from 0 to 2\*\*32 - 1; got -1"),
        ({"seed": 2**32}, r"seed must .* got 4294967296"),
        ({"dataset": "folder:"}, r"folder:PATH needs a folder of images, one sub-folder a class; '' is not a folder"),
        ({"image_size": 0}, r"image_size must be .* got 0"),
        ({"image_size": (8, 8, 1)}, r"image_size must be .* got \(8, 8, 1\)"),
        ({"image_size": "64"}, r"image_size must be .* got '64'"),
        ({"dataset": "fashion_mnst"}, r"got 'fashion_mnst'\. Did you mean fashion_mnist"),
        ({"dataset": "qqqq"}, r"Expected digits, folder:PATH or the name .*; got 'qqqq'\.$"),
        ({"dataset": "a b/c"}, r"TensorFlow Datasets can't open 'a b/c': "),
        (
            {"dataset": "emnist/letter"},
            r"can't open 'emnist/letter': .*letter not found.* configurations: .*letters",
        ),
        ({"dataset": "cifar100/y"}, r"^TensorFlow Datasets can't open 'cifar100/y': BuilderConfig y not found.*\d\.$"),
        ({"dataset": "imdb_reviews"}, r"imdb_reviews is not an image-classification set: .* label, text"),
        ({"dataset": "coco"}, r"coco is not an image-classification set"),
        (
            {"dataset": "oxford_flowers102"},
            r"oxford_flowers102 vary in size, .* pass image_size \(--image-size\)",
        ),
    ],
)
def test_a_mistake_gets_one_sentence(tmp_path, monkeypatch, kwargs, message):
    monkeypatch.setattr(urllib.request, "urlopen", None)  # none of these may need the network
    with pytest.raises(UserError, match=message) as caught:
        image_data.load(**{"data_dir": str(tmp_path / "new"), **kwargs})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert not (tmp_path / "new").exists()


def folder_without_images(path):
    for name in CLASSES:
        (path / name).mkdir(parents=True)


def folder_with_an_empty_class(path):
    write_classes(path, 2)
    (path / "newt").mkdir()


def folder_with_other_classes_to_test(path):
    write_classes(path / "train", 2)
    write_classes(path / "test", 2, classes=("cat", "dog", "emu"))


def folder_with_val_twice(path):
    for split in ("train", "val", "validation"):
        write_classes(path / split, 1)


def folder_with_a_broken_image(path):
    write_classes(path, 9)
    (path / "dog" / "004.png").write_bytes(b"not a picture")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: None, "pets' does not exist"),
        (lambda path: path.write_text("x"), "pets' is not a folder"),
        (
            lambda path: path.mkdir(),
            "pets must hold at least two sub-folders, one a class; it has no sub-folder",
        ),
        (lambda path: write_classes(path, 2, classes=("cat",)), r"it has only one \(cat\)"),
        (folder_without_images, "pets holds no image"),
        (folder_with_an_empty_class, "No image .* in the class folder .*newt"),
        (folder_with_other_classes_to_test, "same class folders; only one of them has emu, owl"),
        (folder_with_val_twice, "both val and validation"),
        (folder_with_a_broken_image, "dog.004.png can't be read as an image: Unknown image file format"),
    ],
)
def test_a_bad_folder_gets_one_sentence(tmp_path, prepare, message):
    prepare(tmp_path / "pets")
    with pytest.raises(UserError, match=message) as caught:
        image_data.load(f"folder:{tmp_path / 'pets'}", image_size=4)
    assert "\n" not in str(caught.value)


def test_a_folder_needs_an_image_size(tmp_path):
    with pytest.raises(UserError, match="vary in size, so they must be resized"):
        image_data.load(f"folder:{write_classes(tmp_path / 'pets', 2)}")


def test_a_broken_training_image_is_found_before_a_streamed_training(tmp_path, monkeypatch):
    for split in ("train", "val", "test"):
        write_classes(tmp_path / split, 4)
    (tmp_path / "train" / "owl" / "002.png").write_bytes(b"")
    monkeypatch.setattr(image_data, "MEMORY_LIMIT", 0)
    with pytest.raises(UserError, match=r"owl.002\.png can't be read"):
        image_data.load(f"folder:{tmp_path}", image_size=4)


def refuse(url, timeout):
    raise urllib.error.URLError("no route")


def hang(url, timeout):
    threading.Event().wait(5)


def server_error(url, timeout):
    raise urllib.error.HTTPError(url, 403, "Forbidden", {}, io.BytesIO())


@pytest.mark.parametrize(("urlopen", "why"), [(refuse, r"\(no route\)"), (hang, "no answer within 0.2 s")])
def test_without_a_network_it_refuses_at_once_and_creates_nothing(tmp_path, monkeypatch, urlopen, why):
    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(tfds_source, "PROBE_SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(UserError, match=why) as caught:
        image_data.load("cifar10", data_dir=str(tmp_path / "new"))
    assert time.monotonic() - start < 3
    for part in (
        "cifar10 is not in",
        "www.cs.toronto.edu",
        "TFDS_DATA_DIR",
        "--data-dir",
        "--dataset digits",
    ):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_answers_with_an_error_is_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", server_error)
    builder = make_builder("ServedSet", {"train": 30})
    assert image_data.load(builder.name, data_dir=str(tmp_path)).test_size == 6


def test_a_failed_preparation_gets_one_sentence(tmp_path, online):
    builder = make_builder("FailingSet", {"train": 30}, fails=OSError("disk full\nand more"))
    with pytest.raises(UserError, match=r"failing_set couldn't be prepared in .*: disk full\.$"):
        image_data.load(builder.name, data_dir=str(tmp_path))


def test_a_set_to_be_downloaded_by_hand_says_how(tmp_path):
    builder = make_builder("ByHandSet", {"train": 30}, fails=AssertionError("Put it here:\n"))
    builder.MANUAL_DOWNLOAD_INSTRUCTIONS = "Log in\n and fetch it."
    with pytest.raises(UserError, match=r": Put it here\. Log in and fetch it\.$"):
        image_data.load(builder.name, data_dir=str(tmp_path))


def test_a_data_dir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"data_dir .* must be a folder; .*file is a file"):
        image_data.load("fashion_mnist", data_dir=str(tmp_path / "file"))


def damage(folder, kind):
    record = folder / "damaged_set-train.tfrecord-00000-of-00001"
    if kind == "no info":
        (folder / "dataset_info.json").unlink()
    elif kind == "bad info":
        (folder / "dataset_info.json").write_text("{")
    elif kind == "no records":
        record.unlink()
    elif kind == "cut off":
        record.write_bytes(record.read_bytes()[:-40])
    else:
        record.write_bytes(record.read_bytes()[:-40] + b"x" * 40)


@pytest.fixture(scope="module")
def damaged_set(tmp_path_factory):
    """A folder with a good copy, to be damaged elsewhere."""
    folder = tmp_path_factory.mktemp("good")
    make_builder("DamagedSet", {"train": 30, "test": 6})(data_dir=str(folder)).download_and_prepare()
    return folder


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no info", "The copy of damaged_set in .* is incomplete: delete that folder"),
        ("bad info", "TensorFlow Datasets can't open 'damaged_set': .*Failed to load JSON"),
        ("no records", "the split train of damaged_set .* can't be read, so it is damaged: .*No such file"),
        ("cut off", "split train of damaged_set .* can't be read, so it is damaged: truncated record"),
        ("overwritten", "split train of damaged_set .* can't be read, so it is damaged: corrupted record"),
    ],
)
def test_a_damaged_copy_gets_one_sentence(tmp_path, damaged_set, kind, message):
    shutil.copytree(damaged_set, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / "damaged_set" / "1.0.0", kind)
    with pytest.raises(UserError, match=message) as caught:
        image_data.load("damaged_set", data_dir=str(tmp_path))
    assert "\n" not in str(caught.value)
