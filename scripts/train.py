"""Train a regularised image classifier: the same as `tf-reg train`."""

from __future__ import annotations

import sys

from tf_reg_cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
