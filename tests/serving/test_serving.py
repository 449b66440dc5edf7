"""A client and a server: the real TensorFlow Serving where there is one, a stand-in over the C API everywhere."""

import contextlib
import functools
import json
import shutil
import threading
import time
import urllib.request

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_reg
from tests.exports import pixels, predicted
from tests.servers import real, stand_in
from tests.tools import require_module
from tf_reg.serving.write import versions
from tf_reg_cli.errors import UserError


@functools.cache
def network(seed):
    """The same model for the same seed."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models: images with all signatures, and one with several inputs and outputs."""
    folder = tmp_path_factory.mktemp("saved_models")
    details = {"classes": ["rose", "lily", "iris"]}
    options = {"signatures": ["serving_uint8", "serving_bytes"], "examples": np.rint(pixels(4)), "details": details}
    tf_reg.export(network(1), folder / "flowers", **options)
    left, right = keras.Input((2,), name="left"), keras.Input((2,), name="right")
    outputs = {"sum": layers.Add()([left, right]), "twice": layers.Dense(1)(left)}
    tf_reg.export(keras.Model([left, right], outputs), folder / "several")
    return folder


@pytest.fixture(scope="module", params=[stand_in, real], ids=["stand-in", "real"])
def served(request, folder, tmp_path_factory):
    require_module("tensorflow_serving", "serving")
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("served") / "models")
    with request.param(copy) as running:
        yield running


@pytest.fixture(params=["columns", "rows", "grpc"])
def kind(request):
    return request.param


@pytest.fixture
def client(served, kind):
    with contextlib.closing(served.client(kind)) as made:
        yield made


@pytest.mark.parametrize("examples", [1, 5, 150])  # the last one is more than a batch of the server's
def test_outputs_are_those_of_the_model(client, examples):
    x = np.rint(pixels(examples))
    outputs = client.predict("serving_default", {"inputs": x})
    assert list(outputs) == ["probabilities"]
    assert outputs["probabilities"].dtype == np.float32
    np.testing.assert_allclose(outputs["probabilities"], predicted(network(1), x), atol=1e-5)


def test_metadata_are_what_the_manifest_says(client, served):
    said = json.loads((served.folder / "flowers/1/assets.extra/tf_reg.json").read_text())["signatures"]
    found = {
        name: {
            side: {key: {"dtype": t.dtype, "shape": list(t.shape)} for key, t in tensors.items()}
            for side, tensors in signature._asdict().items()
        }
        for name, signature in client.signatures.items()
    }
    assert found == said
    assert set(found) == {"serving_default", "serving_uint8", "serving_bytes"}


def test_files_and_bytes(client):
    x = np.rint(pixels(3)).astype("uint8")
    expected = predicted(network(1), x.astype("float32"))
    files = np.array([tf.io.encode_png(image).numpy() for image in x], object)
    given = client.predict("serving_bytes", {"inputs": files})["probabilities"]
    np.testing.assert_allclose(given, expected, atol=1e-5)
    given = client.predict("serving_uint8", {"inputs": x})["probabilities"]
    np.testing.assert_allclose(given, expected, atol=1e-5)


def test_several_inputs_and_outputs(served, kind):
    with contextlib.closing(served.client(kind, "several")) as client:
        x = np.float32([[1, 2], [3, 4], [5, 6]])
        outputs = client.predict("serving_default", {"left": x, "right": 10 * x})
        np.testing.assert_allclose(outputs["sum"], 11 * x, rtol=1e-6)
        assert outputs["twice"].shape == (3, 1)


@pytest.mark.parametrize(
    "options", [{"model": "trees"}, {"version": 99}, {"label": "b"}], ids=lambda one: next(iter(one))
)
def test_unknown_models_versions_and_labels(served, kind, options):
    with (
        contextlib.closing(served.client(kind, **options)) as client,
        pytest.raises(UserError, match=r"doesn't have (trees|version 99 of flowers|the version b of flowers)"),
    ):
        client.signatures  # noqa: B018


@pytest.mark.parametrize("x", [np.zeros((2, 4, 4, 1), "float32"), np.zeros((2, 8, 8), "float32")], ids=["size", "rank"])
def test_wrong_shapes(client, x):
    with pytest.raises(UserError, match=r"flowers at localhost.* refuses the request"):
        client.predict("serving_default", {"inputs": x})
    assert client.predict("serving_default", {"inputs": pixels(1)})["probabilities"].shape == (1, 3)


def test_broken_files(client):
    with pytest.raises(UserError, match="Unknown image file format"):
        client.predict("serving_bytes", {"inputs": np.array([b"no image"], object)})


def test_a_bad_request_of_a_stranger(served):
    for body in (b"{", b"[]", b'{"instances": 3}', b'{"inputs": {"x": [[1]]}}'):
        request = urllib.request.Request(f"http://localhost:{served.rest}/v1/models/flowers:predict", body)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=20)
        assert caught.value.code == 400
        assert "error" in json.loads(caught.value.read())
        caught.value.close()


def test_many_at_once(served, kind):
    """With batching on, requests of several connections become one batch, and each gets its own answer."""
    x = np.rint(pixels(16))
    expected = predicted(network(1), x)
    failures = []

    def ask(number):
        with contextlib.closing(served.client(kind)) as client:
            for i in range(10):
                row = (number + i) % 16
                given = client.predict("serving_default", {"inputs": x[row : row + 1]})["probabilities"]
                failures.extend([row] if not np.allclose(given, expected[row], atol=1e-5) else [])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.slow
def test_a_new_version_takes_over_without_a_failed_request(served, kind):
    x = np.rint(pixels(1))
    answers, errors, done = [], [], threading.Event()

    def ask():
        with contextlib.closing(served.client(kind, retries=0)) as client:
            while not done.is_set():
                try:
                    answers.append(client.predict("serving_default", {"inputs": x})["probabilities"])
                except UserError as error:
                    errors.append(error)

    before = max(versions.versions(served.folder / "flowers"))
    old = [predicted(network(seed), x) for seed in (1, before)]
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        new = network(before + 1)
        tf_reg.export(
            new, served.folder / "flowers", examples=np.rint(pixels(4)), signatures=["serving_uint8", "serving_bytes"]
        )
        expected, deadline = predicted(new, x), time.monotonic() + 30
        while not (answers and np.allclose(answers[-1], expected, atol=1e-5)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        done.set()
        for thread in threads:
            thread.join()
        shutil.rmtree(served.folder / "flowers" / str(before + 1))  # the roll-back
    assert errors == []
    assert all(any(np.allclose(answer, one, atol=1e-5) for one in (*old, expected)) for answer in answers)
    with contextlib.closing(served.client(kind)) as client:
        deadline = time.monotonic() + 30
        while not np.allclose(client.predict("serving_default", {"inputs": x})["probabilities"], old[1], atol=1e-5):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_labels(served, kind):
    tf_reg.export(network(7), served.folder / "flowers", examples=np.rint(pixels(4)))
    second = max(versions.versions(served.folder / "flowers"))
    try:
        x = np.rint(pixels(2))
        for labels, seeds in (
            ({"stable": 1, "canary": second}, {"stable": 1, "canary": 7}),
            ({"stable": second, "previous": 1}, {"stable": 7, "previous": 1}),
        ):
            served.label(labels)
            for label, seed in seeds.items():
                with contextlib.closing(served.client(kind, label=label)) as client:
                    expected, deadline = predicted(network(seed), x), time.monotonic() + 30
                    given = None
                    while given is None or not np.allclose(given, expected, atol=1e-5):
                        assert time.monotonic() < deadline
                        with contextlib.suppress(UserError):  # the server may not have read the labels yet
                            given = client.predict("serving_default", {"inputs": x})["probabilities"]
    finally:
        served.label(None)
        shutil.rmtree(served.folder / "flowers" / str(second))


def test_metrics_of_the_real_server(served):
    if not served.real:
        pytest.skip("the stand-in has no metrics")
    with urllib.request.urlopen(f"http://localhost:{served.rest}/monitoring/prometheus/metrics", timeout=20) as answer:
        assert b":tensorflow:serving:request_count" in answer.read()


def test_json_has_no_nan(served):
    with (
        contextlib.closing(served.client("columns")) as client,
        pytest.raises(UserError, match="neither NaN nor infinity"),
    ):
        client.predict("serving_default", {"inputs": pixels(1) * np.float32("nan")})
