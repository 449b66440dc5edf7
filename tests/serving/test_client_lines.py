"""Files with an example on each line: texts, and sequences of several lengths."""

import numpy as np
import pytest

from tf_reg.serving.client import bench, line_file, requests
from tf_reg.serving.client.server import Signature, Tensor
from tf_reg_cli.errors import UserError

TEXT, STEPS = Tensor("string", (None,)), Tensor("float32", (None, None, 2))


class Client:
    """Answers with the sum of each example, and keeps the shapes that it was asked about."""

    def __init__(self, tensor):
        self.signatures = {name: Signature({"inputs": tensor}, {}) for name in ("serving_default", "serving_bytes")}
        self.shapes = []

    def predict(self, signature, inputs):
        assert signature == "serving_default"
        self.shapes.append(inputs["inputs"].shape)
        return {"sum": np.array([np.sum(example) for example in inputs["inputs"]])}


def test_sequences_of_one_length_go_together_and_answers_come_in_order(tmp_path):
    file, client = tmp_path / "steps.jsonl", Client(STEPS)
    file.write_text("[[1, 2], [3, 4]]\n[[5, 6], [7, 8]]\n[[1, 1]]\n[[9.5, 0], [0, 0]]\n")
    request = requests.prepare(client, [file], None)
    said = [line.split()[-1] for line in requests.answers(client, request, 32, None, 1)]
    assert said == ["10.", "26.", "2.", "9.5"]
    assert client.shapes == [(2, 2, 2), (1, 1, 2), (1, 2, 2)]
    [batch] = bench.batches(request, [3])
    assert batch.inputs["inputs"].shape == (3, 2, 2)
    assert batch.inputs["inputs"].dtype == np.float32


@pytest.mark.parametrize("shape", [(None,), (None, 1)])
def test_texts(tmp_path, shape):
    plain, quoted = tmp_path / "a.txt", tmp_path / "a.jsonl"
    plain.write_text("Good film!\n\nÖl, 東京\n", encoding="utf-8")
    quoted.write_text('"Good film!"\n""\n"\\u00d6l, 東京"\n', encoding="utf-8")
    for file in (plain, quoted):
        found = requests.prepare(Client(TEXT._replace(shape=shape)), [file], None).inputs["inputs"]
        assert found.ravel().tolist() == [b"Good film!", b"", "Öl, 東京".encode()]
        assert found.shape == (3, *shape[1:])


@pytest.mark.parametrize(
    ("content", "tensor", "message"),
    [
        (
            "[[1, 2]]\n[[1, 2, 3]]\n",
            STEPS,
            r"line 2 holds \[\[1, 2, 3\]\]; the model takes float32 \(any, 2\) an example",
        ),
        ("[[1, 2], [3]]\n", STEPS, "line 1 holds"),
        ('["a"]\n', STEPS, "line 1 holds"),
        ("[1]\n", TEXT, r"line 1 holds \[1\]; the model takes string \(\) an example"),
        ("[1.5]\n", Tensor("int32", (None, None)), "line 1 holds 1.5, which int32 can't"),
        ("[1\n", STEPS, "line 1 isn't JSON"),
        ("\n", STEPS, "line 1 isn't JSON"),
    ],
)
def test_lines_that_a_model_does_not_take(tmp_path, content, tensor, message):
    file = tmp_path / "x.jsonl"
    file.write_text(content)
    with pytest.raises(UserError, match=message):
        line_file.examples(file, tensor)


def test_files_that_are_no_lines(tmp_path):
    file = tmp_path / "x.txt"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"x\.txt can't be read as text in UTF-8"):
        line_file.examples(file, TEXT)
    file.write_text("a")
    with pytest.raises(UserError, match=r"asked about alone\. Received: .*x\.txt, .*x\.txt"):
        requests.prepare(Client(TEXT), [file, file], None)
