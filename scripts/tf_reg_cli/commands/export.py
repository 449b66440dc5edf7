"""`tf-reg export`."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from tf_reg_cli.checks import Must
from tf_reg_cli.errors import UserError
from tf_reg_cli.fields import to_path, whole
from tf_reg_cli.files import find, require
from tf_reg_cli.start import quiet_start

FOLDER_NAME = Must(
    lambda text: text not in ("", "..") and Path(text).name == text, "the name of a folder, such as flowers"
)
CUSTOM = Must(
    lambda text: re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", text) is not None,
    "MODULE:CLASS, such as layers:MyLayer for class MyLayer in layers.py",
)


@Parameter("*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of `tf-reg export`."""

    name: Annotated[
        str | None,
        Parameter(
            help="the model's name on the server (default: the run's or file's)", metavar="TEXT", validator=FOLDER_NAME
        ),
    ] = None
    version: Annotated[
        int | None, Parameter(help="(default: one more than the highest there is)", metavar="N", converter=whole)
    ] = None
    saved_models_dir: Annotated[
        Path,
        Parameter(
            help="(default: saved_models)",
            metavar="DIR",
            converter=to_path,
        ),
    ] = Path("saved_models")
    signatures: Annotated[
        tuple[Literal["uint8", "bytes"], ...],
        Parameter(
            help="besides serving_default: serving_uint8 for bytes of pixels, serving_bytes for PNG or JPEG files"
        ),
    ] = ()
    class_id: Annotated[bool, Parameter(help="add the output class_id", negative=())] = False
    top_k: Annotated[
        int | None, Parameter(help="add the outputs top_k_ids and top_k_probabilities", metavar="K", converter=whole)
    ] = None
    logits: Annotated[bool, Parameter(help="add the output logits", negative=())] = False
    formats: Annotated[
        tuple[Literal["onnx", "litert"], ...],
        Parameter(help="beside the SavedModel: model.onnx for ONNX Runtime, model.tflite for LiteRT"),
    ] = ()
    model_repository: Annotated[
        Path | None,
        Parameter(
            help="put the model.onnx into this folder too, as Triton and KServe have it",
            metavar="DIR",
            converter=to_path,
        ),
    ] = None
    output_name: Annotated[str, Parameter(help="(default: probabilities)", metavar="TEXT")] = "probabilities"
    examples: Annotated[
        Path | None,
        Parameter(
            help="a .npy file with inputs (default: the run's test images)",
            metavar="FILE",
            converter=to_path,
        ),
    ] = None
    cpu: Annotated[bool, Parameter(help="allow operations without a GPU kernel", negative=())] = False
    compact: Annotated[bool, Parameter(help="cut out what has no effect, and print what that saves", negative=())] = (
        False
    )
    custom: Annotated[
        tuple[str, ...],
        Parameter(
            help="classes of your own in the model; MODULE.py may lie in the current folder",
            metavar="MODULE:CLASS...",
            validator=CUSTOM,
        ),
    ] = ()
    unsafe_lambda: Annotated[
        bool,
        Parameter(
            help="let the code of Lambda layers run, which lies in the file: for files that you trust", negative=()
        ),
    ] = False

    def of_the_export(self) -> dict[str, Any]:
        """Return what `tf_reg.recipes.export_run.export_saved` takes besides the source and the version."""
        return {
            "signatures": [f"serving_{kind}" for kind in self.signatures],
            "class_id": self.class_id,
            "top_k": self.top_k,
            "logits": self.logits,
            "formats": self.formats,
            "repository": self.model_repository,
            "output_name": self.output_name,
            "classes": self.custom,
            "unsafe_lambda": self.unsafe_lambda,
            "compact": self.compact,
        }


def command(
    source: Annotated[
        Path,
        Parameter(
            help="a run's folder, or a .keras file",
            converter=to_path,
        ),
    ],
    /,
    *,
    options: Options | None = None,
) -> int:
    """Export the model of a finished run, or of a .keras file, for TensorFlow Serving: verified, then published.

    For example:

      tf-reg export runs/digits-mlp-l1l2
      tf-reg export model.keras --name flowers --signatures uint8 bytes --top-k 5
      tf-reg export runs/digits-mlp-group --compact
      tf-reg export model.keras --custom layers:MyLayer layers:my_activation
      tf-reg export model.keras --formats onnx litert --model-repository triton
    """
    options = options or Options()
    if options.model_repository and "onnx" not in options.formats:
        raise UserError("--model-repository is for a model in ONNX. Add --formats onnx.")
    found = find(source)
    folder = options.saved_models_dir / (options.name or found.name)
    require(options.examples, "--examples")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # whatever the model was trained on
    try:
        with quiet_start():
            from tf_reg.recipes import export_run
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Interrupted. Nothing was published.") from None
    before = export_run.published(folder)
    try:
        more = options.of_the_export()
        print(export_run.export_saved(found, folder, options.version, options.examples, gpu=not options.cpu, **more))
    except KeyboardInterrupt:
        new = export_run.published(folder) - before
        raise KeyboardInterrupt(
            f"Interrupted. {folder} has the new version {max(new)}." if new else "Interrupted. Nothing was published."
        ) from None
    return 0
