"""Kernels that `quantize` has turned into integers: the shape that they stand for, and where they stand for zero."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import ops

from tf_reg._backend import Tensor

_KERNELS = ("kernel", "embeddings", "reverse_embeddings")


@dataclasses.dataclass(frozen=True, eq=False)
class Quantized:
    """A kernel of integers, as Keras keeps it in a layer.

    With 4 bits, two numbers are in one integer. With `"gptq"` and `"awq"`, the kernel is a matrix, which is transposed
    up to Keras 3.15. Where the numbers have a zero point, it is another one for each column and each group of rows.

    Args:
        layer: The layer.
        variable: The variable with the integers.
        mode: The layer's quantization mode: `"int8"`, `"int4"`, `"gptq"` or `"awq"`.
    """

    layer: keras.Layer
    variable: Any
    mode: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the kernel before it was quantized."""
        if isinstance(self.layer, keras.layers.EinsumDense):
            return tuple(self.layer.original_kernel_shape) if self._is_matrix else tuple(self.variable.shape)
        rows, columns = self.variable.shape
        if self._is_transposed:
            return columns, self._units
        if self._packed_axis is None:
            return rows, columns
        return (self._units, columns) if self._packed_axis == 0 else (rows, self._units)

    def offsets(self) -> Tensor:
        """How far the integers are from those that stand for zero: zero where the weight is, of the shape `shape`."""
        numbers = ops.convert_to_tensor(self.variable)
        if self._packed_axis is not None:
            unpack = keras.quantizers.unpack_int4
            numbers = unpack(numbers, self._units, axis=self._packed_axis, dtype=self.variable.dtype)
        numbers = ops.cast(numbers, "int32")
        points = getattr(self.layer, f"{self.variable.name}_zero", None)
        if points is not None:
            groups = ops.cast(self.layer.g_idx, "int32")
            numbers -= ops.cast(ops.take(points, groups, axis=self._group_axis), "int32")
        return ops.reshape(ops.transpose(numbers) if self._is_transposed else numbers, self.shape)

    @property
    def _is_transposed(self) -> bool:
        return self._is_calibrated and not hasattr(self.layer, "calibration_pending")

    @property
    def _is_calibrated(self) -> bool:
        return self.mode in ("gptq", "awq")

    @property
    def _is_matrix(self) -> bool:
        return self.mode != "int8"

    @property
    def _packed_axis(self) -> int | None:
        if self.mode == "int4":
            return 0 if self.variable.name == "reverse_embeddings" else 1
        four_bits = self.mode == "awq" or getattr(self.layer.dtype_policy, "weight_bits", None) == 4
        return None if not (self._is_calibrated and four_bits) else 0 if self._is_transposed else 1

    @property
    def _group_axis(self) -> int:
        """The axis of the zero points along which the groups lie."""
        return -1 if self._is_transposed or self.variable.name == "embeddings" else 0

    @property
    def _units(self) -> int:
        """The length of the axis along which numbers are packed."""
        if self.variable.name != "kernel":
            return self.layer.output_dim
        return self.layer.kernel_scale.shape[0 if self._is_transposed else -1]


def quantized(layer: keras.Layer, variable: Any) -> Quantized | None:
    """A variable of a layer as a kernel of integers; None where it is anything else.

    Args:
        layer: The layer that holds the variable.
        variable: A variable. Before `"gptq"` and `"awq"` are calibrated, theirs isn't used yet, and isn't a kernel.
    """
    mode = getattr(layer, "quantization_mode", None)
    whole_numbers = keras.backend.standardize_dtype(variable.dtype) in ("int8", "uint8")
    if variable.name not in _KERNELS or not whole_numbers or mode not in ("int8", "int4", "gptq", "awq"):
        return None
    is_pending = getattr(layer, "calibration_pending", not getattr(layer, f"is_{mode}_calibrated", True))
    return None if is_pending else Quantized(layer, variable, mode)
