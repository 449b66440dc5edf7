"""The configuration files of TensorFlow Serving in a model's base folder, and which versions it serves."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from tf_reg.serving.write import versions

MODELS, BATCHING, MONITORING, SESSION = "models.config", "batching.config", "monitoring.config", "session.config"
MOUNT = "/models"  # where the folder above the base folder is mounted in the server's container

_BATCHING = """\
max_batch_size { value: 4096 }
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 64 }
batch_timeout_micros { value: 1000 }
max_enqueued_batches { value: 128 }
num_batch_threads { value: 4 }
"""
_MONITORING = """\
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""
_SESSION = """\
gpu_options {
  allow_growth: true
}
"""
_LABEL = re.compile(r"[A-Za-z][\w-]*", flags=re.ASCII)
_MARK = re.compile(r'version_labels \{ key: "([^"]*)" value: (\d+) \}')


def write(base: Path) -> None:
    """Write the configuration files that a model's base folder lacks; those that are there stay as they are."""
    texts = {MODELS: models(_name(base)), BATCHING: _BATCHING, MONITORING: _MONITORING, SESSION: _SESSION}
    for name, text in texts.items():
        if not (base / name).exists():
            versions.write_new(base / name, text)


def models(name: str, labels: Mapping[str, int] | None = None, mount: str = MOUNT) -> str:
    """Return the text of `models.config`: the newest version is served, or those with a label.

    Args:
        name: The model's name, and that of its base folder.
        labels: Versions by their label.
        mount: The folder above the base folder, as the server sees it.
    """
    lines = ["latest { num_versions: 1 }"]
    if labels:
        lines = ["specific {", *(f"  versions: {version}" for version in sorted(set(labels.values()))), "}"]
    policy = "\n".join(f"      {line}" for line in lines)
    marks = "".join(f'\n    version_labels {{ key: "{key}" value: {value} }}' for key, value in (labels or {}).items())
    return f"""\
model_config_list {{
  config {{
    name: "{_escaped(name)}"
    base_path: "{_escaped(mount)}/{_escaped(name)}"
    model_platform: "tensorflow"
    model_version_policy {{
{policy}
    }}{marks}
  }}
}}
"""


def label(base: Path, labels: Mapping[str, int]) -> Path:
    """Rewrite `models.config` so that the server has the labelled versions, and these alone; returns its path.

    A label that the file has already moves only to a version that the file has under some label: the server refuses
    all of a file that moves one to a version it hasn't loaded.

    Args:
        base: The model's base folder.
        labels: Versions by their label; none for the newest version without a label.

    Raises:
        ValueError: If a version isn't there, a label is none or can't move yet, or the file was edited by hand.
    """
    there = versions.versions(base)
    for name, version in labels.items():
        if not _LABEL.fullmatch(name):
            raise ValueError(f"A label is a letter and then letters, digits, '_' or '-'. Received: {name!r}.")
        if version not in there:
            raise ValueError(f"{base} has the versions {', '.join(map(str, there)) or 'none'}. Received: {version}.")
    path = base / MODELS
    if path.exists():
        _check_moves(_labels(path, _name(base)), labels)
    versions.write_new(path, models(_name(base), labels), replace=True)
    return path


def _labels(path: Path, name: str) -> dict[str, int]:
    """Return the labels of a `models.config` that is as `models` writes it."""
    text = path.read_text()
    found = {key: int(version) for key, version in _MARK.findall(text)}
    if text.split() != models(name, found).split():
        raise ValueError(
            f"{path} isn't as it was written for the model {name}: change its labels by hand, or move it away first."
        )
    return found


def _check_moves(before: Mapping[str, int], labels: Mapping[str, int]) -> None:
    for name, version in labels.items():
        if before.get(name, version) != version and version not in before.values():
            raise ValueError(
                f"The label {name} can't move to version {version}, which has no label yet: the server refuses that. "
                f"Give the version a new label first (--label v{version}={version} beside those that are there), wait "
                "until the server says that it is AVAILABLE, then move the label."
            )


def _name(base: Path) -> str:
    """The name of a base folder as it is given: one that is a link is known to the server by the link's."""
    return Path(os.path.abspath(base)).name


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"')
