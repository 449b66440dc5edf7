"""Search for the best settings, on one machine or many: the same as `tf-reg tune`."""

from __future__ import annotations

import sys

from tf_reg_cli.main import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))
