"""Every penalty that tf_reg knows, for tests that hold for all of them."""

from __future__ import annotations

import keras
import pytest

from tests.tools import slow_on_tensorflow
from tf_reg.penalties.column_lasso import ColumnLasso
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.log_sum import LogSum
from tf_reg.penalties.lq import Lq
from tf_reg.penalties.mcp import MCP
from tf_reg.penalties.scad import SCAD
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso

SHAPE = (3, 12)  # fits every layout
CONVEX = {
    "l1": lambda: keras.regularizers.L1(0.7),
    "l2": lambda: keras.regularizers.L2(0.4),
    "l1l2": lambda: keras.regularizers.L1L2(0.7, 0.4),
    "group": lambda: GroupLasso(0.5),
    "group_inputs": lambda: GroupLasso(0.9, groups="inputs", size_weights=False),
    "group_lstm": lambda: GroupLasso(0.3, layout="lstm"),
    "group_axes": lambda: GroupLasso(0.3, groups=(0, 1)),
    "columns": lambda: ColumnLasso(0.5, [[0], [2, 1]]),
    "sparse_group": lambda: SparseGroupLasso(0.3, 0.5),
    "sparse_group_gru": lambda: SparseGroupLasso(0.3, 0.5, groups="inputs", layout="gru"),
}
CONCAVE = {
    "mcp": lambda: MCP(0.7),
    "scad": lambda: SCAD(0.5),
    "log_sum": lambda: LogSum(0.9, 0.4),
    "l0": lambda: Lq(0.4, 0),
    "l_half": lambda: Lq(0.5),
    "l_two_thirds": lambda: Lq(0.6, 2 / 3),
    "mcp_group": lambda: MCP(0.5, 2.0, groups="outputs"),
    "scad_group_inputs": lambda: SCAD(0.9, groups="inputs", size_weights=False),
    "log_sum_group_lstm": lambda: LogSum(0.3, 0.5, groups="outputs", layout="lstm"),
}
MEMBERS = CONVEX | CONCAVE
# For tests that take a while: on TensorFlow the concave ones are among the slow.
EVERY = [pytest.param(name, marks=slow_on_tensorflow if name in CONCAVE else ()) for name in MEMBERS]
GROUPED = [name for name in MEMBERS if "group" in name]
