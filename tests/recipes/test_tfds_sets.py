"""Sets of TensorFlow Datasets: their splits, what happens without a network, and copies that are damaged."""

import io
import shutil
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from tests.recipes.images import arrays, make_builder, online
from tf_reg.recipes.data import image_data, tfds_source
from tf_reg_cli.errors import UserError


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
def test_the_owners_splits_are_used(tmp_path, monkeypatch, class_name, splits, labelled, sizes):
    online(monkeypatch)
    builder = make_builder(class_name, splits, labelled=labelled)
    loaded = image_data.load(builder.name, data_dir=str(tmp_path / "new"))
    assert (loaded.train_size, loaded.validation_size, loaded.test_size) == sizes
    images, labels = arrays(loaded.test)
    np.testing.assert_array_equal(images[:, 0, 0, 0] % 3, labels.argmax(1))
    assert (tmp_path / "new" / builder.name / "1.0.0" / "dataset_info.json").is_file()


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


def test_a_failed_preparation_gets_one_sentence(tmp_path, monkeypatch):
    online(monkeypatch)
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
    with pytest.raises(UserError, match=r"--data-dir must be a folder; .*file is a file"):
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
