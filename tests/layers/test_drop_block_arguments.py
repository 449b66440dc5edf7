"""Arguments of DropBlock2D that are out of range."""

import numpy as np
import pytest

from tf_reg import DropBlock2D


def test_block_sizes_out_of_range():
    for size in (0, -1, True, (3,), (3, 0), 2.5, (1, 2, 3)):
        with pytest.raises(ValueError, match="block_size is one positive integer"):
            DropBlock2D(0.1, block_size=size)


def test_other_arguments_of_drop_block_out_of_range():
    with pytest.raises(ValueError, match="data_format is"):
        DropBlock2D(0.1, data_format="NHWC")
    with pytest.raises(ValueError, match="expected ndim=4"):
        DropBlock2D(0.1)(np.ones((2, 3), "float32"))
