"""A stand-in for TensorFlow Serving: its REST and gRPC interfaces over sessions of TensorFlow's C API.

It serves what the tests need, and takes versions, labels and errors as the real server does. Requests and answers are
those of the real protocol: the gRPC half is made of the package `tensorflow-serving-api`. To try a client by hand:

    python -m tests.model_server saved_models --port 8500 --rest-api-port 8501
"""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import contextlib
import json
import re
import socket
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_reg.serving import saved_graph
from tf_reg.serving.verify import replay
from tf_reg.serving.verify.c_api import LoaderError, Run, Session
from tf_reg.serving.write import versions

PATH = re.compile(r"/v1/models/(?P<model>[^/:]+)(/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?(?P<verb>.*)")


class RefusalError(Exception):
    """An error for the client: a code of HTTP's, and a message."""


class Model:
    """The versions of one base folder, loaded when they are asked for."""

    def __init__(self, base):
        self.base, self.labels, self.limit = base, {}, _batch_limit(base)
        self._loaded, self._lock = {}, threading.Lock()

    def label(self, labels):
        """Take labels in place of those that are there, which move only to versions that are served already."""
        served = set(self.labels.values()) or {versions.versions(self.base)[-1]}
        for name, number in labels.items():
            if self.labels.get(name, number) != number and number not in served:
                asked = f"Request to assign label to version {number} of model {self.base.name}"
                raise RefusalError(400, f"{asked}, which is not currently available for inference")
        self.labels = labels

    def version(self, number=None, label=None):
        """The graph, its signatures and the session of a version."""
        there = versions.versions(self.base)
        if label and label not in self.labels:
            raise RefusalError(400, f"Unrecognized servable version label: {label}")
        number = self.labels[label] if label else number or there[-1]
        if number not in there:
            raise RefusalError(404, f"Servable not found for request: Specific({self.base.name}, {number or label})")
        path = self.base / str(number)
        key = number, path.stat().st_ctime_ns  # a number may come back, after a roll-back
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = (
                    saved_graph.load(path),
                    saved_graph.signatures(saved_graph.load(path)),
                    Session(path),
                )
            return number, *self._loaded[key]

    def predict(self, signature, inputs, **which):
        number, _, signatures, session = self.version(**which)
        if signature not in signatures:
            raise RefusalError(400, f'Serving signature name: "{signature}" not found in signature def')
        found = signatures[signature]
        try:
            case = replay.Case("the request", found, inputs, {})
            replay.check(case)
            if case.size > self.limit:
                raise ValueError(f"Task size {case.size} is larger than maximum input batch size {self.limit}")
            fetches = [tensor.name for tensor in found.outputs.values()]
            values = session.run(Run({found.inputs[name].name: array for name, array in inputs.items()}, fetches))
        except (ValueError, LoaderError) as error:
            raise RefusalError(400, str(error)) from error
        return number, dict(zip(found.outputs, values, strict=True))

    def close(self):
        for _, _, session in self._loaded.values():
            session.close()


def _batch_limit(base):
    """How many examples a request may have."""
    config = base / "batching.config"
    found = re.search(r"max_batch_size \{ value: (\d+) \}", config.read_text() if config.exists() else "")
    return int(found[1]) if found else float("inf")


def models_in(folder):
    """The models of a folder, by name."""
    return {path.name: Model(path) for path in folder.iterdir() if path.is_dir()}


@contextlib.contextmanager
def rest(models, port=0, host="localhost"):
    """Serve models by name over REST; yields the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = type("Server", (ThreadingHTTPServer,), {"address_family": family})
    server = made((host, port), type("Handler", (_Handler,), {"models": models}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def grpc(models, port=0, host="localhost"):
    """Serve models by name over gRPC; yields the port."""
    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_service(models), server)
    port = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    models = None

    def do_GET(self):
        self._answer(lambda model, verb, which, body: self._describe(model, verb, which))

    def do_POST(self):
        self._answer(lambda model, verb, which, body: self._predict(model, verb, which, body))

    def log_message(self, *args):
        """Say nothing."""

    def _answer(self, respond):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            code, answer = 200, respond(*self._route(), body)
        except RefusalError as refusal:
            code, answer = refusal.args[0], {"error": refusal.args[1]}
        content = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _route(self):
        match = PATH.fullmatch(self.path)
        if match is None:
            raise RefusalError(400, "Malformed request")
        model, label = urllib.parse.unquote(match["model"]), match["label"] and urllib.parse.unquote(match["label"])
        if model not in self.models:
            raise RefusalError(404, f"Servable not found for request: Latest({model})")
        which = {"number": int(match["version"]) if match["version"] else None, "label": label}
        return self.models[model], match["verb"], which

    def _describe(self, model, verb, which):
        number, meta_graph, _, _ = model.version(**which)
        if verb != "/metadata":
            return {"model_version_status": [{"version": str(number), "state": "AVAILABLE"}]}
        from google.protobuf import json_format

        definitions = {
            name: json_format.MessageToDict(
                definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            for name, definition in meta_graph.signature_def.items()
        }
        return {"model_spec": {"version": str(number)}, "metadata": {"signature_def": {"signature_def": definitions}}}

    def _predict(self, model, verb, which, body):
        if verb != ":predict":
            raise RefusalError(400, "Malformed request")
        try:
            asked = json.loads(body)
            name = asked.get("signature_name", "serving_default")
            _, _, signatures, _ = model.version(**which)
            tensors = signatures[name].inputs if name in signatures else {}
            rows = "instances" in asked
            columns = _columns(asked["instances"], tensors) if rows else asked["inputs"]
            inputs = {key: _array(columns[key], tensor.dtype) for key, tensor in tensors.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RefusalError(400, f"JSON Parse error: {error!r}") from error
        _, outputs = model.predict(name, inputs, **which)
        values = {key: array.tolist() for key, array in outputs.items()}
        if not rows:
            return {"outputs": values if len(values) > 1 else next(iter(values.values()))}
        made = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
        return {"predictions": made if len(values) > 1 else next(iter(values.values()))}


def _columns(rows, tensors):
    if len(tensors) == 1:
        [name] = tensors
        return {name: [row[name] if isinstance(row, dict) and name in row else row for row in rows]}
    return {name: [row[name] for row in rows] for name in tensors}


def decoded(value):
    return [decoded(one) for one in value] if isinstance(value, list) else base64.b64decode(value["b64"])


def _array(value, dtype):
    if dtype == "string":
        return np.array(decoded(value), object)
    return np.asarray(value, dtype)


@contextlib.contextmanager
def _told(context):
    """Answer a refusal with the status of gRPC that belongs to it."""
    from grpc import StatusCode

    codes = {400: StatusCode.INVALID_ARGUMENT, 404: StatusCode.NOT_FOUND}
    try:
        yield
    except RefusalError as refusal:
        context.abort(codes[refusal.args[0]], refusal.args[1])


def _asked(models, spec):
    """The model that a request names, and which version of it."""
    if spec.name not in models:
        raise RefusalError(404, f"Servable not found for request: Latest({spec.name})")
    return models[spec.name], {"number": spec.version.value or None, "label": spec.version_label or None}


def _service(models):
    from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def GetModelMetadata(self, request, context):  # noqa: N802
            with _told(context):
                model, which = _asked(models, request.model_spec)
                number, meta_graph, _, _ = model.version(**which)
                definitions = get_model_metadata_pb2.SignatureDefMap(signature_def=dict(meta_graph.signature_def))
                answer = get_model_metadata_pb2.GetModelMetadataResponse()
                answer.model_spec.version.value = number
                answer.metadata["signature_def"].Pack(definitions)
                return answer

        def Predict(self, request, context):  # noqa: N802
            with _told(context):
                model, which = _asked(models, request.model_spec)
                inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
                name = request.model_spec.signature_name or "serving_default"
                number, outputs = model.predict(name, inputs, **which)
                answer = predict_pb2.PredictResponse()
                answer.model_spec.version.value = number
                for key, array in outputs.items():
                    answer.outputs[key].CopyFrom(tf.make_tensor_proto(array))
                return answer

    return Service()


def _main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8500)
    parser.add_argument("--rest-api-port", type=int, default=8501)
    flags = parser.parse_args()
    models = models_in(flags.folder)
    with rest(models, flags.rest_api_port), grpc(models, flags.port), contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


if __name__ == "__main__":
    _main()
