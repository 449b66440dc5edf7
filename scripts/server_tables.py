"""Write down what TensorFlow of each version can read, for `tf_reg.export(server=...)`.

`python scripts/server_tables.py` takes each version's wheel from the registry, about 600 MB, and writes the file that
`tf_reg.serving.verify.server_tables` reads. A wheel is read in a process of its own, through its C API: Python's
TensorFlow of another version is never imported, and no dependency of the wheel is installed.
"""

from __future__ import annotations

import ctypes
import json
import lzma
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

VERSIONS = "2.18", "2.19", "2.20", "2.21"
PYTHON = "3.12"  # each version has a wheel for it, whose libraries in C++ are those of the others
LIBRARIES = "libtensorflow_framework.so.2", "libtensorflow_cc.so.2"  # the second one needs the first
_GRAPHS, _TYPES = "include/tensorflow/core/public/version.h", "include/tensorflow/core/framework/types.pb.h"
_DEVICES = "CPU", "GPU", "DEFAULT"


class _Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p)]


def fetch(version: str, folder: Path) -> Path:
    """Take the newest wheel of a version from the registry, and what is needed of it into a folder.

    Args:
        version: Of TensorFlow, such as `"2.18"`.
        folder: Where to, `<folder>/tensorflow`. It takes about 1.3 GB.

    Returns:
        The folder `<folder>/tensorflow`, which is a package without anything but the libraries in C++.

    Raises:
        subprocess.CalledProcessError: If pip can't have it; its `stderr` says why.
    """
    with tempfile.TemporaryDirectory(dir=folder) as wheels:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--python-version={PYTHON}"]
        command += ["--only-binary=:all:", f"tensorflow=={version}.*", "-d", wheels]
        subprocess.run(command, check=True, capture_output=True, text=True)
        [wheel] = Path(wheels).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in (*LIBRARIES, _GRAPHS, _TYPES):
                archive.extract(f"tensorflow/{name}", folder)
    (folder / "tensorflow" / "__init__.py").touch()
    return folder / "tensorflow"


def written_down(tensorflow: Path) -> dict[str, Any]:
    """Return what the TensorFlow in a folder reads, as the file has it for the newest version.

    Args:
        tensorflow: The folder of the package.
    """
    from google.protobuf import json_format
    from tensorflow.core.framework import kernel_def_pb2, op_def_pb2

    command = [sys.executable, "-P", __file__, "--registry", str(tensorflow)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    found = json.loads(done.stdout)
    ops = op_def_pb2.OpList.FromString(bytes.fromhex(found["ops"])).op
    kernels = _by_operation(kernel_def_pb2.KernelList.FromString(bytes.fromhex(found["kernels"])).kernel)
    graphs = dict(re.findall(r"#define TF_GRAPH_DEF_VERSION(\w*) (\d+)", (tensorflow / _GRAPHS).read_text()))
    types = {int(code) for code in re.findall(r"^ *DT_\w+ = (\d+),", (tensorflow / _TYPES).read_text(), flags=re.M)}
    operations = {}
    for op in ops:
        if not op.name.startswith("_"):
            plain = json_format.MessageToDict(op)
            operations[plain.pop("name")] = {"op": plain, "kernels": kernels.get(op.name, {})}
    return {
        "tensorflow": found["version"],
        "producer": int(graphs[""]),
        "min_producer": int(graphs["_MIN_PRODUCER"]),
        "types": sorted(code for code in types if 0 < code < 100),  # above are TensorFlow 1's references
        "ops": dict(sorted(operations.items())),
    }


def together(tables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the contents of the file: the newest version whole, of the others what isn't as in that one.

    Args:
        tables: What `written_down` returns, by version, the newest one last.
    """
    *older, newest = tables
    last = tables[newest]["ops"]
    made = {newest: tables[newest]}
    for version in older:
        ops = tables[version]["ops"]
        others = {name: ops.get(name) for name in sorted(ops.keys() | last.keys()) if ops.get(name) != last.get(name)}
        made[version] = tables[version] | {"ops": others}
    return made


def _by_operation(kernels: Any) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Sort kernels by operation and device; those with a label are for nodes that ask for them by it."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for kernel in kernels:
        if kernel.device_type in _DEVICES and not kernel.label:
            some = found.setdefault(kernel.op, {}).setdefault(kernel.device_type, [])
            allowed = {one.name: one.allowed_values.list for one in kernel.constraint}
            plain = {name: sorted(v.type) or sorted(s.decode() for s in v.s) for name, v in allowed.items()}
            if plain not in some:
                some.append(plain)
    return {
        op: {device: sorted(some, key=json.dumps) for device, some in sorted(devices.items())}
        for op, devices in found.items()
    }


def _registry(tensorflow: Path) -> None:
    """Print the operations and kernels of the TensorFlow in a folder, as its C API returns them."""
    ctypes.CDLL(str(tensorflow / LIBRARIES[0]), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(tensorflow / LIBRARIES[1]))
    library.TF_Version.restype = ctypes.c_char_p
    library.TF_NewStatus.restype = ctypes.c_void_p
    library.TF_GetAllOpList.restype = library.TF_GetAllRegisteredKernels.restype = ctypes.POINTER(_Buffer)
    library.TF_GetAllRegisteredKernels.argtypes = [ctypes.c_void_p]
    ops = library.TF_GetAllOpList().contents
    kernels = library.TF_GetAllRegisteredKernels(library.TF_NewStatus()).contents
    content = {name: ctypes.string_at(b.data, b.length).hex() for name, b in {"ops": ops, "kernels": kernels}.items()}
    print(json.dumps(content | {"version": library.TF_Version().decode()}))


def main() -> None:
    """Write the file anew."""
    from tf_reg.serving.verify.server_tables import FILE

    tables = {}
    for version in VERSIONS:
        with tempfile.TemporaryDirectory() as folder:
            tables[version] = written_down(fetch(version, Path(folder)))
        print(f"TensorFlow {tables[version]['tensorflow']}: {len(tables[version]['ops'])} operations", flush=True)
    text = json.dumps(together(tables), sort_keys=True, separators=(",", ":"))
    FILE.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{FILE.name}: {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--registry"]:
        _registry(Path(sys.argv[2]))
    else:
        main()
