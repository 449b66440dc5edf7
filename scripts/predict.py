"""Ask a running TensorFlow Serving: the same as `tf-reg predict`."""

from __future__ import annotations

import sys

from tf_reg_cli.main import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
