"""Folders of images as people have them: splits by any name, hidden files, other formats, grey images."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tf_reg.recipes.data import folders, image_data
from tf_reg_cli.errors import UserError


def write(folder, count=10, classes=("cat", "dog"), kind="png", mode="RGB", seed=0):
    """Random images of 12x12 pixels in class folders."""
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = Image.fromarray(rng.integers(0, 256, (12, 12, 3)).astype("uint8"))
            image.convert(mode).save(folder / name / f"{number}.{kind}")
    return folder


def load(folder, **options):
    return image_data.load(f"folder:{folder}", image_size=12, **options)


def sizes(images):
    return images.train_size, images.validation_size, images.test_size


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train", "valid"), (36, 4, 10)),
        (("training", "testing"), (36, 4, 10)),
        (("Train", "Test"), (36, 4, 10)),
        (("TRAIN_SET", "Dev-Set"), (36, 4, 10)),
        (("train", "valid", "test"), (40, 10, 10)),
        (("train_images", "val_images", "test_images"), (40, 10, 10)),
        (("training", "validation", "evaluation"), (40, 10, 10)),  # Food-11's names
    ],
)
def test_splits_are_found_by_any_usual_name(tmp_path, names, expected):
    for number, name in enumerate(names):
        write(tmp_path / name, 20 if number == 0 else 5, seed=number)
    images = load(tmp_path)
    assert images.class_names == ("cat", "dog")
    assert sizes(images) == expected
    assert images.notes == ()


def test_a_class_may_be_called_like_a_split(tmp_path):
    assert load(write(tmp_path, 6, ("car", "test", "train"))).class_names == ("car", "test", "train")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("fold_a", "fold_b"), r"fold_a, fold_b .* hold the same sub-folders \(cat, dog\).* name them train"),
        (("test", "valid"), "has test and valid, but no folder for training"),
        (("train", "Training"), "has both Training and train, which mean the same split"),
        (("train", "unlabelled"), "has train, which holds sub-folders as a training split does, beside unlabelled"),
    ],
)
def test_what_can_not_be_told_apart_is_refused(tmp_path, names, message):
    for name in names:
        write(tmp_path / name, 2)
    with pytest.raises(UserError, match=message):
        load(tmp_path)


def test_nothing_hidden_or_made_by_a_system_is_data(tmp_path):
    folder = write(tmp_path)
    for name in (".ipynb_checkpoints", "@eaDir", "deeper/__MACOSX"):
        shutil.copytree(folder / "dog", folder / "cat" / name)
    shutil.copytree(folder / "cat", folder / "__MACOSX" / "cat")
    for name in ("._0.png", ".DS_Store", "deeper/._1.png"):
        (folder / "cat" / name).write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    images = load(folder)
    assert (images.class_names, sum(sizes(images)), images.notes) == (("cat", "dog"), 20, ())


def test_every_format_is_read_and_every_other_file_is_named(tmp_path):
    write(tmp_path)
    for kind in ("webp", "tiff", "jfif", "avif", "bmp", "gif"):
        write(tmp_path, 1, kind=kind)
    shutil.copy(tmp_path / "cat" / "0.png", tmp_path / "cat" / "no_ending")
    for name in ("a.heic", "b.heic", "labels.txt"):
        (tmp_path / "dog" / name).write_text("no image")
    shutil.copy(tmp_path / "cat" / "0.png", tmp_path / "loose.png")
    images = load(tmp_path)
    assert sum(sizes(images)) == 20 + 12 + 1
    loose, unread, *_ = images.notes
    assert loose == "Not used, as they lie in no class folder: 1 .png."
    assert unread.endswith(": 2 .heic, 1 .txt.")


def test_grey_images_keep_one_channel_unless_told_otherwise(tmp_path):
    grey = write(tmp_path / "grey", mode="L")
    assert load(grey).image_shape == (12, 12, 1)
    assert load(grey, color_mode="rgb").image_shape == (12, 12, 3)
    write(grey, 1, kind="jpg", seed=1)
    assert load(grey).image_shape == (12, 12, 3)
    assert load(grey, color_mode="grayscale").image_shape == (12, 12, 1)
    with pytest.raises(UserError, match="color_mode must be grayscale or rgb"):
        load(grey, color_mode="grey")
    with pytest.raises(UserError, match="color_mode is for a folder of images"):
        image_data.load("digits", color_mode="rgb")


def test_pixels_are_those_that_a_person_sees_whatever_decodes_them(tmp_path):
    """A row of images, one a file: plain, turned by EXIF, transparent, 16 bits."""
    half = np.zeros((12, 12, 3), "uint8")
    half[:6] = 255
    write(tmp_path / "train", 3, seed=7)
    test = tmp_path / "test"
    (test / "cat").mkdir(parents=True)
    write(test, 1, ("dog",))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(half).save(test / "cat" / "1.png")
    Image.fromarray(half).save(test / "cat" / "2.png", exif=exif)
    clear = np.dstack([np.full((12, 12, 3), 200, "uint8"), np.zeros((12, 12), "uint8")])
    Image.fromarray(clear).save(test / "cat" / "3.png")
    Image.fromarray(np.full((12, 12), 257 * 100, "uint16")).save(test / "cat" / "4.png")
    images = load(tmp_path, validation_split=0.4)
    pixels = np.concatenate([batch for batch, _ in images.test.as_numpy_iterator()])
    assert (pixels[0] == half).all()
    assert (pixels[1][:, 6:] == 255).all()
    assert (pixels[1][:, :6] == 0).all()
    assert (pixels[2] == 255).all()
    assert (pixels[3] == 100).all()
    assert images.notes[0].startswith("1 images have 16 bits a channel")


def test_equal_files_in_training_and_test_are_counted(tmp_path):
    write(tmp_path / "train", 10)
    write(tmp_path / "test", 5, seed=1)
    shutil.copy(tmp_path / "train" / "cat" / "0.png", tmp_path / "test" / "cat" / "0.png")
    shutil.copy(tmp_path / "train" / "dog" / "3.png", tmp_path / "test" / "dog" / "4.png")
    images = load(tmp_path, validation_split=0.1)
    said = " ".join(images.notes)
    train = {x.tobytes() for batch, _ in images.train_eval.as_numpy_iterator() for x in batch}
    again = sum(x.tobytes() in train for batch, _ in images.test.as_numpy_iterator() for x in batch)
    assert f"{again} of the 10 test images have the same content as a training image" in said
    assert again in (1, 2)  # one of the two may have been set aside for validation


def test_a_damaged_image_is_named(tmp_path):
    (write(tmp_path) / "cat" / "3.png").write_text("no image")
    with pytest.raises(UserError, match=r"3\.png can't be read as an image: it is damaged, or no image"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["train", "Training", "TRAIN_SET", "train-images", "trn"])
def test_words_for_training(name):
    assert folders.split_of(name) == "train"


@pytest.mark.parametrize("name", ["cat", "strain", "pretrain", "trainer", "latest", "contest", "devices"])
def test_words_that_only_look_like_a_split(name):
    assert folders.split_of(name) is None
