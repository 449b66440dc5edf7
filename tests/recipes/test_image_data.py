"""Every example exactly once, the same batches for the same seed, exact statistics, resizing, streaming."""

import collections
import math
import sys

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from tests.recipes.images import arrays, assert_same, examples, make_builder, online, write_classes
from tf_reg.recipes.data import image_data


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
        if dataset is loaded.train:  # 67, 67 and 66 for 97
            assert max(batches) - min(batches) < len(batches)
            assert max(batches) <= batch_size
        else:
            assert set(batches[:-1]) <= {batch_size}
        assert len(batches) == math.ceil(size / batch_size)
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
def test_streaming_changes_nothing_but_the_order_of_training(monkeypatch, tmp_path, source):
    online(monkeypatch)
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
