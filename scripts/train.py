"""Train a regularised image classifier, and write what it learned, its curves and a SavedModel.

Examples:
    python scripts/train.py --reg l1l2
    python scripts/train.py --dataset fashion_mnist --model cnn --dropout 0.5
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's notes on its start are no news


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 2 for a mistake of the user's, 130 after Ctrl-C."""
    try:
        return _train(arguments)
    except KeyboardInterrupt:
        print("\nInterrupted before anything was written.", file=sys.stderr)
        return 130


def _train(arguments: Sequence[str] | None) -> int:
    from tf_reg._checks import UserError  # takes seconds, in which Ctrl-C should end cleanly too
    from tf_reg.recipes import config, run

    try:
        flags = config.parser(__doc__).parse_args(arguments)
        result = run.run(config.from_flags(flags))
    except run.InterruptedRunError as interrupted:
        print(f"\n{interrupted}", file=sys.stderr)
        return 130
    except UserError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    print(f"\n{result.table()}\n\nrun         {result.folder}\nSavedModel  {result.saved_model}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
