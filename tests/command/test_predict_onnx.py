"""`tf-reg predict --onnx`: a file in the place of a server."""

import numpy as np
import pytest

from tests.exports import classifier, pixels
from tests.tools import require_module


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A `model.onnx` that takes the mean of the pixels for a probability."""
    require_module("onnx", "onnx")
    require_module("onnxruntime", "onnx")
    from onnx import TensorProto, helper, save

    shape = ["batch", 8, 8, 1]
    nodes = [
        helper.make_node("ReduceMean", ["inputs"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "axis"], ["probabilities"]),
    ]
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 1])],
        [axis],
    )
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_arrays_and_images(command, file, tmp_path):
    import tensorflow as tf

    x = np.stack([np.full((8, 8, 1), value, "float32") for value in (0.25, 0.75)])
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "black.png").write_bytes(tf.io.encode_png(np.zeros((8, 8, 1), "uint8")).numpy())
    code, out, err = command("predict", "x.npy", "black.png", "--onnx", file)
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["x.npy[0]", "class", "0", "0.7500"],
        ["x.npy[1]", "class", "1", "0.7500"],
        ["black.png", "class", "0", "1.0000"],
    ]


def test_the_bench(command, file, tmp_path):
    np.save(tmp_path / "x.npy", pixels(3))
    flags = ("--bench", "--requests", 4, "--connections", 1, "--batch-sizes", 2)
    code, out, _ = command("predict", "x.npy", "--onnx", file, *flags)
    assert code == 0
    assert out.splitlines()[-1].startswith("| ONNX Runtime | 2 | 1 | 4 |")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "Give --model NAME, the model's name on the server, or --onnx FILE."),
        (["--onnx", "m.onnx", "--model", "m"], "--onnx asks no server. Leave out --model."),
        (["--onnx", "m.onnx", "--grpc", "--host", "h"], "--onnx asks no server. Leave out --host, --grpc."),
        (["--onnx", "none.onnx"], "--onnx none.onnx is no file."),
    ],
)
def test_flags_that_do_not_fit(command, tmp_path, flags, said):
    np.save(tmp_path / "x.npy", pixels(1))
    (tmp_path / "m.onnx").touch()
    code, out, err = command("predict", "x.npy", *flags)
    assert (code, out) == (2, "")
    assert said in err


def test_files_that_are_none(command, file, tmp_path):
    np.save(tmp_path / "x.npy", pixels(1))
    np.save(tmp_path / "small.npy", pixels(1)[:, :4])
    (tmp_path / "cut.onnx").write_bytes(file.read_bytes()[:50])
    code, _, err = command("predict", "x.npy", "--onnx", "cut.onnx")
    assert code == 2
    assert err.startswith("tf-reg predict: ONNX Runtime can't run cut.onnx: ")
    assert len(err.splitlines()) == 1
    code, _, err = command("predict", "small.npy", "--onnx", file)
    assert (code, err) == (
        2,
        "tf-reg predict: small.npy has the shape (1, 4, 8, 1), the model takes float32 (any, 8, 8, 1).\n",
    )


def test_without_the_extra(command, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    np.save(tmp_path / "x.npy", pixels(1))
    (tmp_path / "m.onnx").touch()
    said = 'tf-reg predict: ONNX Runtime is not installed: pip install -e ".[onnx]".\n'
    assert command("predict", "x.npy", "--onnx", "m.onnx") == (2, "", said)


@pytest.mark.slow
def test_an_exported_model(command, tmp_path):
    require_module("tf2onnx", "onnx")
    model = classifier()
    model.save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", pixels(2))
    code, out, _ = command(
        "export", "m.keras", "--formats", "onnx", "--examples", "x.npy", "--model-repository", "triton"
    )
    assert code == 0
    assert "ONNX Runtime       difference at most" in out
    assert out.endswith("\ntriton/m/1\n")
    expected = np.asarray(model(pixels(2), training=False))
    for file in ("saved_models/m/1/model.onnx", "triton/m/1/model.onnx"):
        code, out, _ = command("predict", "x.npy", "--onnx", file)
        lines = [line.split() for line in out.splitlines()]
        assert lines == [
            [f"x.npy[{n}]", "class", str(row.argmax()), f"{row.max():.4f}"] for n, row in enumerate(expected)
        ]
