"""Functions that hang, crash, or break the rule in another way: the fuzzing must say so."""

import os
import time

from tests.fuzz.domains import STRENGTH
from tests.fuzz.targets import Target

TARGETS = [
    Target("hangs", lambda x: time.sleep(1000), {"x": STRENGTH}, ("x",)),
    Target("crashes", lambda x: os.abort(), {"x": STRENGTH}, ("x",)),
    Target("takes anything", lambda x: x, {"x": STRENGTH}, ("x",)),
    Target("answers", lambda x: None, {"x": STRENGTH}, ("x",)),
]
