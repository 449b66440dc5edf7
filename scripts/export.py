"""Export a saved model for TensorFlow Serving: the same as `tf-reg export`."""

from __future__ import annotations

import sys

from tf_reg_cli.main import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
