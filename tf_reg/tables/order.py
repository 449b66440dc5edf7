"""An order of rows that depends on what is in them and not on where they stand, and splits of rows in that order."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np


def digests(columns: Sequence[np.ndarray]) -> list[bytes]:
    """Return a hash of the values of each row.

    Args:
        columns: Arrays of one length: numbers, or objects that are str. Their order counts.
    """
    numbers = [np.asarray(one, "float64") + 0.0 for one in columns if one.dtype.kind != "O"]  # -0.0 is 0.0
    table = np.stack([np.where(np.isnan(one), np.nan, one) for one in numbers], 1) if numbers else None
    texts = [one for one in columns if one.dtype.kind == "O"]
    found = []
    for row in range(len(columns[0])):
        digest = hashlib.blake2b(b"" if table is None else table[row].tobytes(), digest_size=16)
        for text in texts:
            content = text[row].encode(errors="surrogatepass")
            digest.update(len(content).to_bytes(8, "little") + content)
        found.append(digest.digest())
    return found


def by_content(rows: Sequence[bytes]) -> np.ndarray:
    """Return an order of rows, int64 `(rows,)`, that looks random and is the same however the rows are ordered.

    Rows are sorted by a hash of their contents. Equal rows are numbered, and the number is part of the hash: so they
    are apart like any other rows.

    Args:
        rows: What `digests` returned.
    """
    seen: Counter[bytes] = Counter()
    keys = []
    for content in rows:
        keys.append(hashlib.blake2b(content + seen[content].to_bytes(8, "little"), digest_size=16).digest())
        seen[content] += 1
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), "int64")


def share_of_each(labels: np.ndarray, share: float) -> np.ndarray:
    """Return which places to set aside, `(rows,)` of booleans: of each label the first ones, in proportion.

    One of each label stays.

    Args:
        labels: Int `(rows,)`, in the order of which the first ones are taken.
        share: The part to set aside.
    """
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        chosen[places[: min(len(places) - 1, round(share * len(places)))]] = True
    return chosen
