"""The leaf records of a whole block at once, in one NumPy table; ``Leaf.encode`` says what each must be.

Apart from ``leaf``, so that who reads one record or its constants waits for no NumPy.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.index.log.leaf import KEY_BYTES, LEAF_BYTES
from stages.index.verifier import RECORD_KIND

_FIELD: Final = f"V{KEY_BYTES}"  # keys and digests are of one length
_TABLE: Final = np.dtype(
    [("version", "u1"), ("kind", "u1"), ("key", _FIELD), ("position", "<u4")]
    + [(name, _FIELD) for name in ("column", "head", "header", "sealed")]
)


def encode_leaves(
    keys: bytes, positions_N: NDArray[np.uint32], columns: bytes, head: bytes, header: bytes, sealed: bytes
) -> list[bytes]:
    """The bytes of N records of one block; keys, columns and sealed are N fields in a row. See ``Leaf``."""
    table_N = np.empty(len(positions_N), _TABLE)
    table_N["version"], table_N["kind"] = RECORD_KIND
    table_N["position"] = positions_N
    for name, fields in (("key", keys), ("column", columns), ("sealed", sealed)):
        table_N[name] = np.frombuffer(fields, _FIELD)
    for name, field in (("head", head), ("header", header)):
        table_N[name] = np.frombuffer(field, _FIELD)[0]
    data = table_N.tobytes()
    return [data[start : start + LEAF_BYTES] for start in range(0, len(data), LEAF_BYTES)]
