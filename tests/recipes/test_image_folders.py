"""Folders of images, one sub-folder a class: how they are split, and what a bad one is told."""

import numpy as np
import pytest

from tests.recipes.images import CLASSES, assert_same, colours, examples, write_classes
from tf_reg.recipes.data import image_data
from tf_reg_cli.errors import UserError


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
        (folder_with_a_broken_image, "dog.004.png can't be read as an image: it is damaged"),
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
