"""`tf-reg predict`, run as a user does, in this process, against the stand-in for TensorFlow Serving."""

import io
import json
import os
import shutil
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_reg
from tests.exports import pixels
from tests.servers import stand_in
from tests.tools import require_module
from tf_reg_cli.commands import predict as predict_command
from tf_reg_cli.main import parse

CLASSES = ["rose", "lily", "iris"]
QUOTED = "my \u00e9t\u00e9: 100%"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    require_module("tensorflow_serving", "serving")
    folder = tmp_path_factory.mktemp("saved_models")
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 1))
    x = layers.Dense(3, activation="softmax")(layers.Flatten()(layers.Rescaling(1 / 255)(inputs)))
    model = keras.Model(inputs, x)
    (folder / "flowers").mkdir()
    (folder / "flowers/batching.config").write_text("max_batch_size { value: 64 }\n")
    tf_reg.export(model, folder / "flowers", signatures=["serving_bytes"], details={"classes": CLASSES})
    shutil.copytree(folder / "flowers", folder / QUOTED)
    features = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    tf_reg.export(features, folder / "several", output_name="price")
    binary = keras.Sequential([keras.Input((1,)), layers.Activation("sigmoid")])
    tf_reg.export(binary, folder / "binary")
    with stand_in(folder) as running:
        running.model = model
        yield running


@pytest.fixture
def predict(command, served):
    """Run the command on files in an empty folder: returns exit code, stdout and stderr."""

    def run(*flags, model="flowers"):
        port = served.grpc if "--grpc" in flags else served.rest
        return command("predict", *flags, "--model", model, *(() if "--port" in flags else ("--port", port)))

    return run


def ranked(model, x):
    row = model.predict(x, verbose=0)[0]
    return [(CLASSES[i], f"{row[i]:.4f}") for i in np.argsort(-row)]


@pytest.mark.parametrize("protocol", ["", "--rows", "--grpc"])
def test_arrays_and_images(predict, served, tmp_path, protocol):
    x = np.rint(pixels(3))
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(x[2].astype("uint8")).numpy())
    manifest = served.folder / "flowers/1/assets.extra/tf_reg.json"
    flags = [*filter(None, [protocol]), "--classes", str(manifest)]
    code, out, err = predict("x.npy", *flags)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines == [[f"x.npy[{i}]", *ranked(served.model, x[i : i + 1])[0]] for i in range(3)]
    for signature in ([], ["--signature", "serving_default"]):
        _, out, _ = predict("a.png", *flags, *signature, "--top", "2")
        first, second = ranked(served.model, x[2:])[:2]
        assert out.split() == ["a.png", *first, *second]


def test_one_example_and_other_models(predict, tmp_path):
    np.save(tmp_path / "x.npy", np.float32([1, 2]))
    code, out, _ = predict("x.npy", model="several")
    assert code == 0
    assert out.startswith("x.npy  price [")
    np.save(tmp_path / "y.npy", pixels(1)[0])
    assert "y.npy  class " in predict("y.npy")[1]


@pytest.mark.parametrize("protocol", ["--rows", "--grpc"])
def test_more_examples_than_a_request_may_have(predict, served, tmp_path, protocol):
    x = np.rint(pixels(70))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", x[:1])
    code, out, err = predict("x.npy", "y.npy", protocol)
    assert (code, err) == (0, "")
    names = [f"x.npy[{i}]" for i in range(70)] + ["y.npy"]
    numbers = np.argmax(served.model.predict(np.concatenate([x, x[:1]]), verbose=0), axis=1)
    lines = [line.rsplit(maxsplit=1)[0] for line in out.splitlines()]
    assert lines == [f"{name:<9}  class {number}" for name, number in zip(names, numbers, strict=True)]
    code, out, err = predict("x.npy", protocol, "--batch-size", "65")
    assert (code, out) == (2, "")
    assert "Task size 65 is larger than maximum input batch size 64" in err


@pytest.mark.parametrize("protocol", ["", "--grpc"])
def test_names_that_a_url_quotes(predict, tmp_path, protocol):
    np.save(tmp_path / "x.npy", pixels(1))
    flags = [*filter(None, [protocol])]
    assert predict("x.npy", *flags, model=QUOTED)[0] == 0
    for model, label in (("a/b", None), ("flowers", "a/b")):
        code, _, err = predict("x.npy", *flags, *(["--label", label] if label else []), model=model)
        assert code == 2
        assert f"doesn't have {f'the version {label} of ' if label else ''}{model}: " in err
        assert ("label: a/b" if label else "Latest(a/b)") in err


@pytest.mark.parametrize("names", [None, ["no", "yes"], ["no", "maybe", "yes"]])
def test_a_sigmoid_has_two_classes(predict, tmp_path, names):
    np.save(tmp_path / "x.npy", np.float32([[1], [-2], [0]]))
    (tmp_path / "names.json").write_text(json.dumps(names))
    flags = ["--classes", "names.json"] if names else []
    no, yes = names if names and len(names) == 2 else ("class 0", "class 1")
    code, out, _ = predict("x.npy", *flags, model="binary")
    assert code == 0
    assert out.splitlines() == [f"x.npy[0]  {yes}  0.7311", f"x.npy[1]  {no}  0.8808", f"x.npy[2]  {no}  0.5000"]
    assert predict("x.npy", *flags, "--top", "2", model="binary")[1].startswith(
        f"x.npy[0]  {yes}  0.7311  {no}  0.2689"
    )


def test_a_terminal_without_a_letter(predict, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", pixels(1))
    (tmp_path / "names.json").write_text(json.dumps(["\u82b1"] * 3))
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert predict("x.npy", "--classes", "names.json")[0] == 0
    assert stream.buffer.getvalue().startswith(b"x.npy  \\u82b1  0.")


def test_a_reader_that_leaves(predict, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", pixels(2))
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        code, _, err = predict("x.npy")
    assert (code, err) == (141, "")


@pytest.mark.parametrize("protocol", ["--rows", "--grpc"])
def test_bench(predict, tmp_path, protocol):
    np.save(tmp_path / "x.npy", pixels(2))
    flags = ["--bench", "--requests", "20", "--connections", "2", "--batch-sizes", "1", "4"]
    code, out, err = predict("x.npy", protocol, *flags)
    assert (code, err) == (0, "")
    header, rule, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines()]
    assert len(rule) == len(header) == 9
    assert [row[1:4] for row in rows] == [["1", "2", "20"], ["4", "2", "20"]]
    for row in rows:
        p50, p95, p99, rate, examples = (float(cell.replace(",", "")) for cell in row[4:])
        assert 0 < p50 <= p95 <= p99
        assert 0 < rate <= examples


DECODED = ["--signature", "serving_default"]
MISTAKES = [
    (["nowhere.npy"], "nowhere.npy can't be read"),
    (["broken.npy"], "broken.npy can't be read"),
    (["small.npy"], "small.npy has the shape (1, 4, 4, 1), the model takes float32 (any, 8, 8, 1)"),
    (["x.npz"], "x.npz can't be read as an array: numpy.save writes such files"),
    (["words.npy"], "words.npy holds <U4 instead of numbers; the model takes float32 (any, 8, 8, 1)"),
    (["structs.npy"], "structs.npy holds [('a', '<f4')] instead of numbers"),
    (["empty.npy"], "empty.npy has no examples: its shape is (0, 8, 8, 1)"),
    (["nowhere.png"], "nowhere.png can't be read: No such file"),
    (["broken.png", *DECODED], "broken.png can't be decoded as an image of (any, 8, 8, 1): it is damaged"),
    (["notes.jpg", *DECODED], "notes.jpg can't be decoded as an image"),
    (["broken.png"], "Unknown image file format"),
    (["notes.jpg"], "Unknown image file format"),
    (["x.npy", "--signature", "serving_bytes"], "the model takes string"),
    (["x.npy", "--signature", "classify"], "The model has the signatures serving_bytes, serving_default"),
    (["x.npy", "--version", "9"], "doesn't have version 9 of flowers"),
    (["x.npy", "--label", "stable"], "doesn't have the version stable of flowers"),
    (["x.npy", "--classes", "none.json"], "none.json names no classes"),
    (["x.npy", "--classes", "nowhere.txt"], "--classes nowhere.txt is no file"),
    (["x.npy", "--host", "nowhere.invalid", "--retries", "0"], "No answer from TensorFlow Serving"),
]


def test_mistakes_are_one_sentence(predict, tmp_path):
    np.save(tmp_path / "x.npy", pixels(1))
    np.save(tmp_path / "small.npy", np.zeros((1, 4, 4, 1)))
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "broken.npy").write_bytes(b"no array")
    (tmp_path / "none.json").write_text('{"classes": null}')
    (tmp_path / "notes.jpg").write_text("not an image either")
    np.savez(tmp_path / "x.npz", pixels(1))
    np.save(tmp_path / "words.npy", np.full((1, 8, 8, 1), "word"))
    np.save(tmp_path / "structs.npy", np.zeros((1, 8, 8, 1), [("a", "f4")]))
    np.save(tmp_path / "empty.npy", pixels(0))
    for flags, words in MISTAKES:
        code, out, err = predict(*flags)
        assert (code, out) == (2, "")
        [message] = err.splitlines()
        assert message.startswith("tf-reg predict: ")
        assert words in message
        assert "{{" not in message
        assert message.count("can't be") <= 1
    assert "doesn't have trees" in predict("x.npy", model="trees")[2]
    assert "notes.jpg is no .npy file, and the model takes no images" in predict("notes.jpg", model="several")[2]


@pytest.mark.parametrize(
    ("flag", "values", "words"),
    [
        ("--retries", ["-1"], "a whole number of 0 or more"),
        ("--retries", ["x", "1.5"], "a whole number"),
        ("--batch-size", ["0"], "a whole number of 1 or more"),
        ("--timeout", ["nan", "inf", "0", "-1", "1e9"], "seconds, above 0 and up to 86400"),
        ("--timeout", ["x"], "a number"),
        ("--port", ["0", "65536"], "a whole number from 1 to 65535"),
        ("--version", ["-1", "9" * 23], "a whole number from 0 to 9223372036854775807"),
        (
            "--host",
            ["a..b", "", "a b", "http://a", "localhost:80", "::1::", "x" * 64],
            "a name or an address alone; --port has the port",
        ),
    ],
)
def test_flags_are_checked(command, flag, values, words):
    for value in values:
        code, out, err = command("predict", "x.npy", "--model", "m", f"{flag}={value}")
        assert (code, out) == (2, "")
        received = value if flag in ("--timeout", "--port", "--version", "--batch-size", "--retries") else repr(value)
        assert err.replace("'", "") == f"tf-reg predict: {flag} must be {words}. Received: {received}.\n".replace(
            "'", ""
        )


@pytest.mark.parametrize(
    ("given", "host"), [("::1", "::1"), ("[::1]", "::1"), ("a.example", "a.example"), ("b\u00fccher.example",) * 2]
)
def test_hosts(given, host):
    _, bound = parse(["predict", "x.npy", "--model", "m", "--host", given])
    assert predict_command.address(bound.kwargs["options"]).host == host


@pytest.mark.parametrize("flags", [["--version", "1", "--label", "stable"], ["--grpc", "--rows"]])
def test_flags_that_exclude_each_other(command, flags):
    code, out, err = command("predict", "x.npy", "--model", "m", *flags)
    assert (code, out) == (2, "")
    assert err.endswith("Leave one out.\n")
