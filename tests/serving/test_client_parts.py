"""The parts of the client without a server: requests, files, names of classes, and the measurement."""

import json

import numpy as np
import pytest

from tf_reg.serving.client import bench, files, requests
from tf_reg.serving.client.server import Signature, Tensor
from tf_reg_cli.errors import UserError


def test_answers_come_one_request_after_the_other():
    class Client:
        sizes = []  # noqa: RUF012

        def predict(self, signature, inputs):
            self.sizes.append(len(inputs["x"]))
            return {"y": inputs["x"]}

    request = requests.Request("serving_default", {"x": np.arange(5)}, list("abcde"))
    lines = requests.answers(Client(), request, 2, None, 1)
    assert (next(lines), Client.sizes) == ("a  y 0", [2])
    assert (list(lines)[-1], Client.sizes) == ("e  y 4", [2, 2, 1])


class Broken:
    """A client whose every second request fails."""

    def __init__(self):
        self.count = 0

    def predict(self, signature, inputs):
        self.count += 1
        if self.count % 2 == 0:
            raise UserError("no")
        return {}

    def close(self):
        self.closed = True


def test_a_bench_counts_what_fails():
    request = requests.Request("serving_default", {"x": np.zeros((3, 1))}, ["a"] * 3)
    found = bench.measure(Broken, request, requests=10, connections=1)
    assert (len(found.seconds), found.failed, found.batch) == (5, ("no", 5), 3)


def test_shapes_of_two_files_have_to_agree(tmp_path):
    class Client:
        signatures = {"serving_default": Signature({"x": Tensor("float32", (None, None))}, {})}  # noqa: RUF012

    for number in (2, 3):
        np.save(tmp_path / f"{number}.npy", np.zeros((1, number)))
    with pytest.raises(UserError, match=r"2\.npy has examples of the shape \(2,\), .*3\.npy of \(3,\): ask for one at"):
        requests.prepare(Client(), [tmp_path / "2.npy", tmp_path / "3.npy"], None)


@pytest.mark.parametrize(
    ("values", "dtype", "refused"),
    [
        ([1.0, 300.7], "uint8", "300.7"),
        ([1.5], "int64", "1.5"),
        ([np.nan], "int32", "nan"),
        ([0, -1], "uint8", "-1"),
        ([2**24 + 1], "float32", "16777217"),
        ([0, 2], "bool", "2"),
        ([1.0, 1e39], "float32", "1e[+]39"),
        ([1j], "float32", "complex128 instead of numbers"),
        ([0.0, 255.0], "uint8", None),
        ([True, False], "float32", None),
        ([0.1, np.nan, np.inf, -np.inf], "float32", None),
        ([0.1], "float64", None),
        ([2**53], "float64", None),
    ],
)
def test_no_value_changes_with_its_dtype(tmp_path, values, dtype, refused):
    np.save(tmp_path / "x.npy", np.array(values))
    tensor = Tensor(dtype, (None,))
    if refused:
        with pytest.raises(UserError, match=rf"x\.npy holds {refused}.*{dtype}"):
            files.examples(tmp_path / "x.npy", tensor)
    else:
        found = files.examples(tmp_path / "x.npy", tensor)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, np.array(values), rtol=1e-7)


def test_classes_of_all_kinds(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(["x", "y"]))
    (tmp_path / "b.txt").write_text("x\ny\n")
    (tmp_path / "c.json").write_text(json.dumps({"classes": ["x", "y"]}))
    assert [requests.read_classes(tmp_path / name) for name in ("a.json", "b.txt", "c.json")] == [["x", "y"]] * 3
    (tmp_path / "gap.txt").write_text("x\n\nz\n")
    assert requests.read_classes(tmp_path / "gap.txt") == ["x", "", "z"]


def test_models_with_several_inputs_are_not_for_this_client(tmp_path):
    tensor = Tensor("float32", (None, 2))

    class Client:
        signatures = {"serving_default": Signature({"a": tensor, "b": tensor}, {"y": tensor})}  # noqa: RUF012

    with pytest.raises(UserError, match="has the inputs a, b"):
        requests.prepare(Client(), [tmp_path / "x.npy"], None)
