"""Write skglm.json: what the proximal operators of skglm make of some values. Needs skglm, which no test needs.

pip install skglm==0.5; python tests/data/make_skglm_values.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import skglm
from skglm.penalties.block_separable import BlockMCPenalty, BlockSCAD
from skglm.penalties.separable import L0_5, L2_3, SCAD, LogSumPenalty, MCPenalty

STRENGTH = 0.8
# With steps below 1 skglm's formulas of MCP and SCAD are right. Its log-sum has alpha = strength * epsilon.
SINGLE = {
    "mcp": MCPenalty(STRENGTH, 3.0),
    "scad": SCAD(STRENGTH, 3.7),
    "log_sum": LogSumPenalty(STRENGTH * 0.5, 0.5),
    "log_sum_jumps": LogSumPenalty(STRENGTH * 0.1, 0.1),
    "l_half": L0_5(STRENGTH),
    "l_two_thirds": L2_3(STRENGTH),
}
BLOCKS = {"mcp_group": BlockMCPenalty(STRENGTH, 3.0), "scad_group": BlockSCAD(STRENGTH, 3.7)}


def main() -> None:
    """Write the file."""
    rng = np.random.default_rng(0)
    values, steps = 3 * rng.normal(size=(40, 4)), rng.uniform(0.02, 0.98, size=40)
    results = {
        name: [[penalty.prox_1d(x, step, 0) for x in row] for row, step in zip(values, steps, strict=True)]
        for name, penalty in SINGLE.items()
    }
    for name, penalty in BLOCKS.items():
        results[name] = [penalty.prox_1feat(row, step, 0).tolist() for row, step in zip(values, steps, strict=True)]
    file = {"skglm": skglm.__version__, "strength": STRENGTH, "values": values.tolist(), "steps": steps.tolist()}
    Path(__file__).with_name("skglm.json").write_text(json.dumps(file | {"results": results}))


if __name__ == "__main__":
    main()
