"""The penalties: their constructors, their values, their proximal operators and their configurations."""

import copy
import json
import math

import numpy as np
from hypothesis import strategies as st

import tf_reg
from tests.fuzz import penalty_formulas as formulas
from tests.fuzz.domains import (
    FLAG,
    STRENGTH,
    Domain,
    is_many,
    is_numbers,
    mapping_without_sense,
    number,
    optional,
    same,
    weights,
    word,
)
from tests.fuzz.targets import Target

GROUPS = word("inputs", "outputs")
AXES = Domain(
    st.sampled_from([(1,), [0], (np.int64(0), 1), [-1]]).map(lambda axes: (axes, [int(one) for one in axes])),
    lambda value: False,
)
EITHER_GROUPS = Domain(
    st.one_of(GROUPS.right, AXES.right), lambda v: (isinstance(v, str) and v in GROUP_WORDS) or is_many(v)
)
GROUP_WORDS = ("inputs", "outputs", "heads")
LAYOUT = same(
    st.sampled_from(["kernel", "transposed", "depthwise", "lstm", "gru"]), lambda value: isinstance(value, str)
)
PLACES = Domain(
    st.sampled_from([[[0], [1, 2]], ((0, 2), (1,)), {"a": [2], "b": [0, 1]}, [np.array([0, 1]), np.array([2])]]).map(
        lambda groups: (
            groups,
            [list(map(int, one)) for one in (groups.values() if isinstance(groups, dict) else groups)],
        )
    ),
    is_many,
)
ONE_EACH = Domain(
    st.sampled_from([True, False, [1.0, 2.0], (0.5, 3)]).map(lambda v: (v, v)),
    lambda v: isinstance(v, (bool, np.bool_)) or is_many(v),
)
SIZES = Domain(
    st.sampled_from([True, False, "flops"]).map(lambda v: (v, v)), lambda v: isinstance(v, (bool, np.bool_, str))
)
GROUPED = {"groups": EITHER_GROUPS, "size_weights": FLAG, "layout": LAYOUT}
CONCAVE = {**GROUPED, "groups": optional(EITHER_GROUPS)}
ABOVE_2 = number(2, math.inf, inside=[2.5, 3.75, 10.0], closed=False)
POSITIVE = number(0, math.inf, inside=[0.25, 0.5, 3.0], closed=False)
Q = number(-1e-6, 1, inside=[0.0, 0.5])

CONSTRUCTED = {
    "GroupLasso": {"strength": STRENGTH, **GROUPED, "l": optional(STRENGTH)},
    "SparseGroupLasso": {"l1": STRENGTH, "strength": STRENGTH, **GROUPED, "l": optional(STRENGTH)},
    "ColumnLasso": {"strength": STRENGTH, "groups": PLACES, "size_weights": ONE_EACH},
    "ChannelLasso": {"strength": STRENGTH, "size_weights": SIZES},
    "Lq": {"strength": STRENGTH, "q": Q},
    "MCP": {"strength": STRENGTH, "gamma": POSITIVE, **CONCAVE},
    "SCAD": {"strength": STRENGTH, "a": ABOVE_2, **CONCAVE},
    "LogSum": {"strength": STRENGTH, "epsilon": POSITIVE, **CONCAVE},
}


def has_its_arguments(penalty, given):
    """The configuration is plain, makes an equal penalty, and has the numbers that were given."""
    config = penalty.get_config()
    again = type(penalty).from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config, (again.get_config(), config)
    given = {**given, **({"strength": given["l"]} if given.get("l") is not None else {})}
    for name in set(given) - {"l"}:
        found, value = config[name], given[name]
        assert (found == value) or (name == "groups" and list(map(list, found)) == value) or list(value) == found


NO_AXES = st.one_of(st.binary(min_size=1, max_size=2), st.integers(0, 1).map(lambda place: iter([place])))
ODD = {"groups": NO_AXES}


def constructor(name):
    needed = ("strength", "groups") if name == "ColumnLasso" else ()
    return Target(
        name,
        getattr(tf_reg, name),
        CONSTRUCTED[name],
        needed,
        has_its_arguments,
        odd=ODD,
        partial=True,
        refuses="strength and l are two",
    )


INNER = Domain(
    st.sampled_from([tf_reg.GroupLasso(0.5), tf_reg.MCP(0.5, groups="outputs"), tf_reg.LogSum(0.1)]).map(
        lambda v: (v, v)
    ),
    lambda value: isinstance(value, tf_reg.GroupLasso),
)


def channel_penalty_config(answer, given):
    again = type(answer).from_config(answer.get_config())
    assert again.get_config() == answer.get_config()
    assert "penalty" not in given or answer.penalty is given["penalty"]


MATRICES = ((3, 2), (3, 4), (3, 1))
KERNELS = (*MATRICES, (2, 3, 2), (1, 2, 3, 4))
ANY_SHAPE = (*KERNELS, (), (4,), (2, 1, 2, 1, 2), (0,), (3, 0))
EXAMPLES = {
    "L1": (tf_reg.tf1.l1_regularizer(0.5), lambda w: formulas.l1_l2(w, 0.5), ANY_SHAPE),
    "L1L2": (tf_reg.tf1.l1_l2_regularizer(0.5, 0.5), lambda w: formulas.l1_l2(w, 0.5, 0.25), ANY_SHAPE),
    "GroupLasso": (tf_reg.GroupLasso(0.5), lambda w: formulas.group_lasso(w, 0.5), KERNELS),
    "SparseGroupLasso": (
        tf_reg.SparseGroupLasso(0.25, 0.5, "inputs", False),
        lambda w: formulas.group_lasso(w, 0.5, "inputs", False, l1=0.25),
        KERNELS,
    ),
    "ColumnLasso": (
        tf_reg.ColumnLasso(0.5, [[0, 2], [1]]),
        lambda w: formulas.column_lasso(w, 0.5, [[0, 2], [1]]),
        MATRICES,
    ),
    "Lq": (tf_reg.Lq(0.5, 0.5), lambda w: formulas.power(w, 0.5, 0.5), ANY_SHAPE),
    "Lq of 0": (tf_reg.Lq(0.5, 0), lambda w: formulas.power(w, 0.5, 0), ANY_SHAPE),
    "MCP": (tf_reg.MCP(0.5, 2.0), lambda w: formulas.concave("MCP", w, 0.5, 2.0), ANY_SHAPE),
    "MCP of groups": (
        tf_reg.MCP(0.5, 2.0, "outputs"),
        lambda w: formulas.concave("MCP", w, 0.5, 2.0, "outputs"),
        KERNELS,
    ),
    "SCAD": (tf_reg.SCAD(0.5, 3.0), lambda w: formulas.concave("SCAD", w, 0.5, 3.0), ANY_SHAPE),
    "LogSum": (tf_reg.LogSum(0.5, 0.25), lambda w: formulas.concave("LogSum", w, 0.5, 0.25), ANY_SHAPE),
    "LogSum of groups": (
        tf_reg.LogSum(0.5, 0.25, "inputs", False),
        lambda w: formulas.concave("LogSum", w, 0.5, 0.25, "inputs", False),
        KERNELS,
    ),
}
STEP = number(0, math.inf, inside=[0.0, 1e-3, 0.5, 2.0])


def value_of(name):
    penalty, formula, shapes = EXAMPLES[name]
    return Target(
        f"{name}(x)",
        lambda x: penalty(x),
        {"x": weights(*shapes)},
        ("x",),
        check=lambda answer, given: formulas.agrees(answer, formula(given["x"])),
        aliases={"x": "weight|kernel"},
    )


def operator_of(name):
    penalty, formula, shapes = EXAMPLES[name]
    shapes = tuple(shape for shape in shapes if math.prod(shape))
    return Target(
        f"proximal_map({name})",
        tf_reg.proximal_map(penalty),
        {"value": weights(*shapes), "step": Domain(STEP.right, lambda value: is_numbers(value) or STEP.could(value))},
        ("value", "step"),
        odd={"step": weights((), (2, 2), (3, 1, 2), (4,)).right.map(lambda pair: pair[0])},
        check=lambda answer, given: formulas.is_prox(answer, formula, given["value"], given["step"]),
        aliases={"value": "weight|kernel"},
    )


def config_of(kind, *arguments, **keywords):
    """The configurations of objects like this one."""
    config = json.loads(json.dumps(kind(*arguments, **keywords).get_config()))
    strengths = st.floats(0, 100) if "strength" in config else st.just(0.0)
    right = strengths.map(
        lambda number: {**copy.deepcopy(config), **({"strength": number} if "strength" in config else {})}
    )
    return Target(
        f"{kind.__name__}.from_config",
        kind.from_config,
        {"config": same(right, lambda value: isinstance(value, dict))},
        ("config",),
        check=lambda answer, given: _same_config(answer.get_config(), given["config"]),
        odd={"config": mapping_without_sense(config)},
    )


def _same_config(config, right):
    assert config == right, (config, right)


TARGETS = [
    *map(constructor, CONSTRUCTED),
    Target(
        "ChannelPenalty",
        tf_reg.ChannelPenalty,
        {"penalty": INNER, "size_weights": SIZES},
        ("penalty",),
        check=channel_penalty_config,
    ),
    *map(value_of, [name for name in EXAMPLES if name not in ("L1", "L1L2")]),
    *map(operator_of, EXAMPLES),
    config_of(tf_reg.GroupLasso, 0.5),
    config_of(tf_reg.SparseGroupLasso, 0.5),
    config_of(tf_reg.ColumnLasso, 0.5, [[0], [1, 2]]),
    config_of(tf_reg.ChannelLasso, 0.5),
    config_of(tf_reg.ChannelPenalty, tf_reg.GroupLasso(0.5)),
    config_of(tf_reg.MCP, 0.5),
    config_of(tf_reg.SCAD, 0.5),
    config_of(tf_reg.LogSum, 0.5),
    config_of(tf_reg.Lq, 0.5),
    config_of(tf_reg.tf1.SumRegularizer, [tf_reg.GroupLasso(0.5)]),
]
