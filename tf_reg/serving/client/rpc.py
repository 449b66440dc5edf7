"""TensorFlow Serving's gRPC interface; needs the extra `serving`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tf_reg.serving.client import server
from tf_reg.serving.client.server import Address, Arrays, Signature, Tensor
from tf_reg_cli.errors import UserError

PORT = 8500
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),  # REST doesn't take a proxy either
]
NEEDED = 'gRPC needs tensorflow-serving-api: pip install -e ".[serving]". Or leave --grpc out.'


class GrpcClient:
    """A `Client` over gRPC.

    Args:
        address: The model.

    Raises:
        UserError: If `tensorflow-serving-api` isn't installed.
    """

    def __init__(self, address: Address) -> None:
        try:
            import grpc
            from tensorflow_serving.apis import prediction_service_pb2_grpc
        except ImportError as error:
            raise UserError(NEEDED) from error
        self._address = address
        self._channel = grpc.insecure_channel(str(address), _OPTIONS)
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    @functools.cached_property
    def signatures(self) -> dict[str, Signature]:
        """What the model offers."""
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._address_to(request.model_spec)
        answer = self._ask(self._service.GetModelMetadata, request)
        found = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(found)
        return {
            name: Signature(_tensors(definition.inputs), _tensors(definition.outputs))
            for name, definition in found.signature_def.items()
            if definition.inputs
        }

    def predict(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """Return the model's outputs."""
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        self._address_to(request.model_spec)
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        answer = self._ask(self._service.Predict, request)
        return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _address_to(self, spec: Any) -> None:
        spec.name = self._address.model
        if self._address.version is not None:
            spec.version.value = self._address.version
        elif self._address.label is not None:
            spec.version_label = self._address.label

    def _ask(self, method: Callable[..., Any], request: Any) -> Any:
        return server.persistently(self._address, lambda left: self._attempt(method, request, left))

    def _attempt(self, method: Callable[..., Any], request: Any, left: float) -> Any:
        import grpc

        try:
            return method(request, timeout=left)
        except grpc.RpcError as error:
            code, message = error.code(), error.details() or error.code().name
            if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
                raise server.NotReadyError(message) from error
            if code == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise server.NotReadyError(f"it took longer than {left:.1f} s") from error
            if code == grpc.StatusCode.NOT_FOUND:
                raise server.unknown(self._address, message) from error
            raise server.refused(self._address, f"{message} ({code.name})") from error


def _tensors(infos: Any) -> dict[str, Tensor]:
    import tensorflow as tf

    return {
        name: Tensor(
            tf.dtypes.as_dtype(info.dtype).name,
            tuple(None if axis.size < 0 else axis.size for axis in info.tensor_shape.dim),
        )
        for name, info in sorted(infos.items())
    }
