"""Every penalty that tf_reg knows, for tests that hold for all of them."""

from __future__ import annotations

import keras

from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso

SHAPE = (3, 12)  # fits every layout
MEMBERS = {
    "l1": lambda: keras.regularizers.L1(0.7),
    "l2": lambda: keras.regularizers.L2(0.4),
    "l1l2": lambda: keras.regularizers.L1L2(0.7, 0.4),
    "group": lambda: GroupLasso(0.5),
    "group_inputs": lambda: GroupLasso(0.9, groups="inputs", size_weights=False),
    "group_lstm": lambda: GroupLasso(0.3, layout="lstm"),
    "group_axes": lambda: GroupLasso(0.3, groups=(0, 1)),
    "sparse_group": lambda: SparseGroupLasso(0.3, 0.5),
    "sparse_group_gru": lambda: SparseGroupLasso(0.3, 0.5, groups="inputs", layout="gru"),
}
GROUPED = [name for name in MEMBERS if "group" in name]
