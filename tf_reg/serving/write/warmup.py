"""The requests that TensorFlow Serving runs before it takes a version into service, and the answers they must have.

The file is a TFRecord of `PredictionLog` messages. Four small messages around TensorFlow's own `TensorProto` are
all that is needed of TensorFlow Serving's protocol, so they are put together here: the package that defines them
isn't needed to export. A log holds a response too, which the server doesn't look at; ours is what the model
computed, so that a version can be checked when the model is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MOST = 1000  # records that the server accepts

_PREDICT_LOG = 6  # numbers of fields: in PredictionLog,
_REQUEST, _RESPONSE = 1, 2  # in PredictLog,
_SPEC, _INPUTS = 1, 2  # in PredictRequest,
_OUTPUTS = 1  # in PredictResponse,
_NAME, _SIGNATURE = 1, 3  # in ModelSpec,
_KEY, _VALUE = 1, 2  # and in an entry of a map


class Record(NamedTuple):
    """A request to a signature, and its answer: arrays by name; strings are arrays of bytes objects."""

    signature: str
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]


def write(path: Path, model: str, records: Iterable[Record]) -> None:
    """Write the requests as TensorFlow Serving reads them.

    Args:
        path: The file; its folder is made.
        model: The name that the server knows the model by.
        records: At most `MOST`.
    """
    import tensorflow as tf

    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(encode(model, record))


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a file; only logs of predictions are known.

    Raises:
        ValueError: If the file is damaged.
    """
    import tensorflow as tf

    try:
        for number, content in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator(), start=1):
            if number > MOST:
                raise ValueError(f"{path} has more than the {MOST} records that the server accepts.")
            yield decode(content)
    except tf.errors.OpError as error:
        raise ValueError(f"{path} is damaged: {error.message}.") from error


def encode(model: str, record: Record) -> bytes:
    """Return a record as a serialised `PredictionLog`."""
    spec = _field(_NAME, model.encode()) + _field(_SIGNATURE, record.signature.encode())
    request = _field(_SPEC, spec) + _map(_INPUTS, record.inputs)
    log = _field(_REQUEST, request) + _field(_RESPONSE, _map(_OUTPUTS, record.outputs))
    return _field(_PREDICT_LOG, log)


def decode(content: bytes) -> Record:
    """Return the record that a serialised `PredictionLog` holds.

    Raises:
        ValueError: If it holds no log of a prediction.
    """
    log = dict(_fields(dict(_fields(content)).get(_PREDICT_LOG, b"")))
    if _REQUEST not in log:
        raise ValueError("A warm-up record is no log of a prediction.")
    request = list(_fields(log[_REQUEST]))
    spec = dict(_fields(dict(request).get(_SPEC, b"")))
    signature = spec.get(_SIGNATURE, b"serving_default").decode()
    return Record(signature, _unmap(_INPUTS, request), _unmap(_OUTPUTS, _fields(log.get(_RESPONSE, b""))))


def _map(number: int, arrays: Mapping[str, np.ndarray]) -> bytes:
    import tensorflow as tf

    return b"".join(
        _field(number, _field(_KEY, name.encode()) + _field(_VALUE, tf.make_tensor_proto(array).SerializeToString()))
        for name, array in arrays.items()
    )


def _unmap(number: int, fields: Iterable[tuple[int, bytes]]) -> dict[str, np.ndarray]:
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    entries = [dict(_fields(content)) for field, content in fields if field == number]
    return {
        entry[_KEY].decode(): tf.make_ndarray(tensor_pb2.TensorProto.FromString(entry[_VALUE])) for entry in entries
    }


def _field(number: int, content: bytes) -> bytes:
    """A field of protobuf's wire format that holds bytes, a string or a message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a message that hold bytes, and pass over numbers."""
    position = 0
    while position < len(content):
        tag, position = _read_varint(content, position)
        if tag & 7 == 0:
            _, position = _read_varint(content, position)
            continue
        if tag & 7 != 2:
            raise ValueError("A warm-up record is no message that TensorFlow Serving writes.")
        length, position = _read_varint(content, position)
        yield tag >> 3, content[position : position + length]
        position += length


def _read_varint(content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(content):
            raise ValueError("A warm-up record ends in the middle.")
        byte = content[position]
        value |= (byte & 127) << shift
        shift, position = shift + 7, position + 1
        if byte < 128:
            return value, position
