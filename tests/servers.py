"""The two servers that a client is tested with: the real TensorFlow Serving, and a stand-in over the C API."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess

from tests import model_server
from tests.tools import missing
from tf_reg.serving import server_config
from tf_reg.serving.client.rest import RestClient
from tf_reg.serving.client.rpc import GrpcClient
from tf_reg.serving.client.server import Address
from tf_reg.serving.write import versions

NO_SERVER = (
    "no TensorFlow Serving: set TF_MODEL_SERVER to the program tensorflow_model_server, or pull the image "
    "tensorflow/serving:2.20.0 for docker or podman"
)
IMAGE = "tensorflow/serving:2.20.0"  # that of saved_models/compose.yaml


class Served:
    """A running server: the ports of its two interfaces, and the folder of its models."""

    def __init__(self, folder, rest, grpc, real, labelled):
        self.folder, self.rest, self.grpc, self.real, self._labelled = folder, rest, grpc, real, labelled

    def client(self, kind, model="flowers", **options):
        port = self.grpc if kind == "grpc" else self.rest
        address = Address("localhost", port, model, **({"timeout": 20} | options))
        return GrpcClient(address) if kind == "grpc" else RestClient(address, rows=kind == "rows")

    def label(self, labels):
        """Serve the labelled versions alone."""
        self._labelled(labels)


@contextlib.contextmanager
def stand_in(folder):
    models = model_server.models_in(folder)

    def labelled(labels):
        models["flowers"].label(labels or {})

    with contextlib.ExitStack() as stack:
        for model in models.values():
            stack.callback(model.close)
        rest = stack.enter_context(model_server.rest(models))
        grpc = stack.enter_context(model_server.grpc(models))
        yield Served(folder, rest, grpc, False, labelled)


@contextlib.contextmanager
def real(folder):
    """The real server, with everything that the base folder of a model configures."""
    ports = free_ports()
    program, engine = os.environ.get("TF_MODEL_SERVER"), _engine()
    if program is None and engine is None:
        missing("tensorflow_model_server", NO_SERVER)
    seen, inner = (str(folder), ports) if program else ("/models", (8500, 8501))
    config = folder / "models.config"

    def write(labels):
        texts = [
            server_config.models(name, labels if name == "flowers" else None, seen) for name in ("flowers", "several")
        ]
        parts = [text.removeprefix("model_config_list {\n").removesuffix("}\n") for text in texts]
        versions.write_new(config, "model_config_list {\n" + "".join(parts) + "}\n", replace=True)

    write(None)
    flags = [
        f"--port={inner[0]}", f"--rest_api_port={inner[1]}", f"--model_config_file={seen}/models.config",
        "--model_config_file_poll_wait_seconds=1", "--allow_version_labels_for_unavailable_models=true",
        "--enable_batching=true", f"--batching_parameters_file={seen}/flowers/batching.config",
        f"--monitoring_config_file={seen}/flowers/monitoring.config",
        f"--tensorflow_session_config_file={seen}/flowers/session.config",
    ]  # fmt: skip
    container = [
        engine, "run", "--rm", f"-p{ports[0]}:8500", f"-p{ports[1]}:8501", f"-v{folder}:/models:ro",
        "--entrypoint=tensorflow_model_server", IMAGE,
    ]  # fmt: skip
    log = (folder / "server.log").open("wb")
    process = subprocess.Popen([*([program] if program else container), *flags], stdout=log, stderr=log)
    try:
        served = Served(folder, ports[1], ports[0], True, write)
        with contextlib.closing(served.client("columns", timeout=120, retries=20)) as client:
            assert client.signatures
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        log.close()


def _engine():
    for engine in filter(shutil.which, ("docker", "podman")):
        with contextlib.suppress(subprocess.TimeoutExpired):
            if not subprocess.run(
                [engine, "image", "inspect", IMAGE], capture_output=True, timeout=20, check=False
            ).returncode:
                return engine
    return None


def free_ports():
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
