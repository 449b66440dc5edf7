"""Find the smallest model that is nearly as good as a run's: the same as `tf-reg shrink`."""

from __future__ import annotations

import sys

from tf_reg_cli.main import main

if __name__ == "__main__":
    sys.exit(main(["shrink", *sys.argv[1:]]))
