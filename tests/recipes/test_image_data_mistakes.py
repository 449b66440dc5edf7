"""A wrong argument of `image_data.load` gets one sentence."""

import urllib.request

import pytest

from tf_reg.recipes.data import image_data
from tf_reg_cli.errors import UserError


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
        ({"train_size": 9}, r"--train-size must lie between 10 \(the classes of digits\) and 1293 .*; got 9"),
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
            r"oxford_flowers102 vary in size, .* pass --image-size",
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
