"""Warm-up records against the real protocol, where the package that defines it is installed, and back again."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tools import require_module
from tf_reg.serving.write import warmup
from tf_reg.serving.write.warmup import Record

RECORDS = [
    Record("serving_default", {"inputs": np.ones((2, 3), "float32")}, {"probabilities": np.eye(2, dtype="float32")}),
    Record("serving_bytes", {"inputs": np.array([b"\x89PNG\0", b"x" * 300], object)}, {"class_id": np.int32([1, 7])}),
    Record("two", {"a": np.zeros((1, 0), "int64"), "b": np.full((1, 2, 2), 200, "uint8")}, {}),
]  # fmt: skip


def same(one, other):
    assert one.signature == other.signature
    for mine, theirs in ((one.inputs, other.inputs), (one.outputs, other.outputs)):
        assert mine.keys() == theirs.keys()
        for name in mine:
            np.testing.assert_array_equal(mine[name], theirs[name])


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.signature)
def test_the_server_reads_what_is_written(record):
    require_module("tensorflow_serving", "serving")
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog.FromString(warmup.encode("flowers", record))
    assert log.WhichOneof("log_type") == "predict_log"
    request, response = log.predict_log.request, log.predict_log.response
    assert (request.model_spec.name, request.model_spec.signature_name) == ("flowers", record.signature)
    received = Record(
        request.model_spec.signature_name,
        {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()},
        {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()},
    )
    same(record, received)
    same(record, warmup.decode(log.SerializeToString()))


def test_what_the_server_logs_is_read():
    """A log of a running server has fields that ours have not: a version, metadata, filters."""
    require_module("tensorflow_serving", "serving")
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    log.log_metadata.model_spec.name = "flowers"
    log.predict_log.request.model_spec.version.value = 2**40
    log.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([1, 2])))
    log.predict_log.request.output_filter.append("y")
    record = warmup.decode(log.SerializeToString())
    assert record.signature == "serving_default"
    assert record.inputs["x"].tolist() == [1, 2]
    assert record.outputs == {}


def test_records_survive_the_file(tmp_path):
    path = tmp_path / "extra" / "requests"
    warmup.write(path, "flowers", RECORDS)
    for record, received in zip(RECORDS, warmup.read(path), strict=True):
        same(record, received)


@pytest.mark.parametrize(
    "change", [lambda content: content[:-3], lambda content: content[:40] + b"\xff" + content[41:]]
)
def test_a_damaged_file_is_named(tmp_path, change):
    path = tmp_path / "requests"
    warmup.write(path, "flowers", RECORDS)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match="requests is damaged"):
        list(warmup.read(path))


@pytest.mark.parametrize(
    "content", [b"", b"\x0a\x02\x08\x01", b"\x32\x80", b"\x33\x00"], ids=["empty", "other", "cut", "group"]
)
def test_other_records_are_refused(content):
    with pytest.raises(ValueError, match="A warm-up record"):
        warmup.decode(content)


def test_the_server_takes_so_many(tmp_path, monkeypatch):
    monkeypatch.setattr(warmup, "MOST", 2)
    warmup.write(tmp_path / "requests", "flowers", RECORDS)
    with pytest.raises(ValueError, match="more than the 2 records"):
        list(warmup.read(tmp_path / "requests"))
