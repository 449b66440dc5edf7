"""Export the model of a finished run, or of a .keras file, for TensorFlow Serving: verified, then published.

Examples:
    python scripts/export.py runs/digits-mlp-l1l2
    python scripts/export.py model.keras --name flowers --signatures uint8 bytes --class-id --top-k 5
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's notes on its start are no news
os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # whatever the model was trained on


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 2 for a mistake of the user's, 130 after Ctrl-C."""
    try:
        return _export(_parser().parse_args(arguments))
    except KeyboardInterrupt:
        print("\nInterrupted. Nothing was published.", file=sys.stderr)
        return 130


def _export(flags: argparse.Namespace) -> int:
    from tf_reg._checks import UserError  # takes seconds, in which Ctrl-C should end cleanly too
    from tf_reg.recipes import export_run

    try:
        source = export_run.find(flags.source)
        folder = flags.saved_models_dir / (flags.name or source.name)
        before = export_run.published(folder)
        try:
            found = export_run.export_saved(
                source, folder, flags.version, flags.examples, gpu=not flags.cpu, **_options(flags)
            )
            print(found)
        except KeyboardInterrupt:
            new = export_run.published(folder) - before
            if not new:
                raise
            print(f"\nInterrupted. {folder} has the new version {max(new)}.", file=sys.stderr)
            return 130
    except UserError as error:
        print(f"export.py: {error}", file=sys.stderr)
        return 2
    return 0


def _options(flags: argparse.Namespace) -> dict[str, Any]:
    return {
        "signatures": [f"serving_{name}" for name in flags.signatures],
        "class_id": flags.class_id,
        "top_k": flags.top_k,
        "logits": flags.logits,
        "output_name": flags.output_name,
    }


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("source", type=Path, metavar="RUN", help="a run's folder, or a .keras file")
    made.add_argument(
        "--name", type=_name, metavar="TEXT", help="the model's name on the server (default: the run's or file's)"
    )
    made.add_argument("--version", type=int, metavar="N", help="(default: one more than the highest there is)")
    made.add_argument(
        "--saved-models-dir", type=Path, default=Path("saved_models"), metavar="DIR", help="(default: saved_models)"
    )
    made.add_argument(
        "--signatures", nargs="+", choices=("uint8", "bytes"), default=[],
        help="besides serving_default: serving_uint8 for bytes of pixels, serving_bytes for PNG or JPEG files",
    )  # fmt: skip
    made.add_argument("--class-id", action="store_true", help="add the output class_id")
    made.add_argument("--top-k", type=int, metavar="K", help="add the outputs top_k_ids and top_k_probabilities")
    made.add_argument("--logits", action="store_true", help="add the output logits")
    made.add_argument("--output-name", default="probabilities", metavar="TEXT", help="(default: probabilities)")
    made.add_argument(
        "--examples", type=Path, metavar="FILE", help="a .npy file with inputs (default: the run's test images)"
    )
    made.add_argument("--cpu", action="store_true", help="allow operations without a GPU kernel")
    return made


def _name(text: str) -> str:
    if text in ("", "..") or Path(text).name != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a folder, such as flowers")
    return text


if __name__ == "__main__":
    sys.exit(main())
