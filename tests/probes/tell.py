"""What works on the backend of this process: the answers of all probes, as a line of JSON each.

Run as `KERAS_BACKEND=torch python -m tests.probes.tell`, with names of rows for these alone. A probe returns its cell
of docs/backends.md: "yes", or "yes: " and a limit. A sentence of tf_reg that refuses becomes "refused: " and the
sentence, and every other error "failed: " and its words.
"""

import contextlib
import json
import sys
import tempfile

import keras

from tests.probes import models, training  # noqa: F401 - they fill PROBES
from tests.probes.network import PROBES
from tf_reg_cli.errors import UserError


def cell(row):
    """What a probe says, in one line."""
    keras.utils.set_random_seed(0)
    try:
        return PROBES[row]()
    except (ValueError, UserError) as error:
        return "refused: " + " ".join(str(error).split())
    except Exception as error:
        return f"failed: {type(error).__name__}: {' '.join(str(error).split())[:400]}"


def main():
    out = sys.stdout
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for row in sys.argv[1:] or PROBES:
            with contextlib.redirect_stdout(sys.stderr):
                said = cell(row)
            print(json.dumps([row, said]), file=out, flush=True)


if __name__ == "__main__":
    main()
