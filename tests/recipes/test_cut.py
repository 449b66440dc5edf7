"""Hold-outs have each class in proportion, for every data set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tf_reg.recipes.data import cut, image_data
from tf_reg_cli.errors import UserError


def write(folder, counts):
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (4, 4, 3)).astype("uint8")).save(folder / name / f"{number}.png")
    return f"folder:{folder}"


def counts(images):
    """How many examples of each class every split has."""
    return {
        name: np.sum([labels.sum(0) for _, labels in getattr(images, name).as_numpy_iterator()], 0).astype(int).tolist()
        for name in ("train_eval", "validation", "test")
    }


@settings(max_examples=200)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=8), st.integers(0, 5))
def test_every_beginning_of_the_order_is_in_proportion(sizes, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    order = cut.stratified_order(labels, seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    for end in range(len(sizes), len(labels) + 1):
        found = np.bincount(labels[order[:end]], minlength=len(sizes))
        assert (found >= 1).all()
        place = max(np.arange(size)[count - 1] / size for size, count in zip(sizes, found, strict=True))
        expected = [np.ceil(place * size) for size in sizes]
        assert (np.abs(found - expected) <= 1).all()


def test_a_rare_class_is_in_every_part_that_it_can_be_in(tmp_path):
    images = image_data.load(write(tmp_path, {"a": 40, "b": 40, "rare": 3}), image_size=4)
    found = counts(images)
    assert [part[2] for part in found.values()] == [1, 1, 1]
    assert max(abs(found["test"][0] - found["test"][1]), abs(found["validation"][0] - found["validation"][1])) <= 1
    assert images.notes == ()


def test_what_can_not_be_stratified_is_said(tmp_path):
    images = image_data.load(write(tmp_path, {"a": 40, "b": 40, "two": 2, "one": 1}), image_size=4)
    found = counts(images)
    assert found["train_eval"][2:] == [1, 1]  # in the order of the names: a, b, one, two
    assert images.notes == ("No validation example of one, two.", "No test example of one.")


def test_classes_of_one_example_each_can_not_be_cut(tmp_path):
    folder = write(tmp_path, {f"c{number}": 1 for number in range(10)})
    with pytest.raises(UserError, match="can't be cut in two parts of 8 and 2 with an example of each class"):
        image_data.load(folder, image_size=4)


def test_a_small_train_size_has_every_class(tmp_path):
    folder = write(tmp_path, {f"k{number}": 30 for number in range(6)})
    assert counts(image_data.load(folder, image_size=4, train_size=6))["train_eval"] == [1] * 6
    found = counts(image_data.load(folder, image_size=4, train_size=20))["train_eval"]
    assert sorted(found) == [3, 3, 3, 3, 4, 4]


@pytest.mark.slow
def test_a_data_set_of_tensorflow_datasets_is_stratified(fashion_mnist_dir):
    images = image_data.load("fashion_mnist", data_dir=fashion_mnist_dir, train_size=1000)
    found = counts(images)
    assert found["train_eval"] == [100] * 10
    assert found["validation"] == [600] * 10
