"""A `.onnx` file asked in this process, as a server is; needs the extra `onnx`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tf_reg.serving.client.server import Arrays, Signature, Tensor
from tf_reg.serving.verify import engines
from tf_reg_cli.errors import UserError

NEEDED = 'ONNX Runtime is not installed: pip install -e ".[onnx]".'
SIGNATURE = "serving_default"  # what `tf_reg.export` makes the file of
_DTYPES = {"float": "float32", "double": "float64"}  # the others have NumPy's names


class OnnxClient:
    """A `Client` on a file.

    Args:
        file: The file.

    Raises:
        UserError: If `onnxruntime` isn't installed, or the file is none that it can run.
    """

    def __init__(self, file: Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(NEEDED) from error
        self._file = file
        onnxruntime.set_default_logger_severity(4)  # what it refuses is raised too
        try:
            self._session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
        except Exception as error:  # of several kinds, which have no base of their own
            raise UserError(f"ONNX Runtime can't run {file}: {_line(error)}") from error

    @property
    def signatures(self) -> dict[str, Signature]:
        """What the file offers."""
        return {SIGNATURE: Signature(_tensors(self._session.get_inputs()), _tensors(self._session.get_outputs()))}

    def predict(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """Return the model's outputs; strings go in as arrays of bytes objects.

        Raises:
            UserError: If the model refuses the inputs.
        """
        names = list(self.signatures[signature].outputs)
        given = {key: engines.texts(array) for key, array in inputs.items()}
        try:
            return dict(zip(names, self._session.run(names, given), strict=True))
        except Exception as error:
            raise UserError(f"{self._file} refuses the request: {_line(error)}") from error

    def close(self) -> None:
        """Nothing is open."""


def _tensors(arguments: Iterable[Any]) -> dict[str, Tensor]:
    return {one.name: Tensor(_dtype(one.type), tuple(map(_size, one.shape))) for one in arguments}


def _dtype(kind: str) -> str:
    """The dtype of `tensor(float)`."""
    name = re.sub(r"^tensor\((.*)\)$", r"\1", kind)
    return _DTYPES.get(name, name)


def _size(size: int | str | None) -> int | None:
    return size if isinstance(size, int) else None  # a free one has a name


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
