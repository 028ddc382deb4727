"""MetaImage headers (.mha, .mhd), as ITK writes and reads them: ``Name = value`` lines, LPS millimetres."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from stages.base import Reason
from stages.ingest.faults import BadData
from stages.ingest.outline import (
    FROM_END,
    HEADER_BYTES,
    RAS_OF_LPS,
    Outline,
    beside,
    outlined,
    real_numbers,
    required,
    whole_numbers,
)
from stages.ingest.volume import DIMENSIONS

_LINE: Final = re.compile(rb"\s*([A-Za-z]\w*)[ \t]*=[ \t]*([^\r\n]*)\r?\n?")
_TYPES: Final = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_PLANE: Final = 2
_ROUNDING: Final = 0.01  # of the length of a direction


def is_metaimage(head: bytes) -> bool:
    """Whether the file opens with such lines, and says where the voxels are."""
    return bool(_LINE.match(head)) and b"DimSize" in head and b"ElementDataFile" in head


def metaimage(head: bytes) -> Outline:
    """The header in the first bytes of a file."""
    fields, start = _fields(head)
    sizes = whole_numbers(required(fields, "DimSize"))
    stated = whole_numbers(required(fields, "NDims"))[0]
    if len(sizes) != stated:
        raise BadData(
            Reason.CORRUPT, f"The header states {stated} dimensions but lists {len(sizes)} in DimSize."
        )
    channels = fields.get("ElementNumberOfChannels", "1")
    if channels != "1" or fields.get("BinaryData", "True") == "False":
        raise BadData(
            Reason.UNSUPPORTED, "Voxels of several channels, or as text, are not read; save as NIfTI."
        )
    order = (
        ">" if "True" in (fields.get("BinaryDataByteOrderMSB"), fields.get("ElementByteOrderMSB")) else "<"
    )
    kind = _TYPES.get(required(fields, "ElementType"))
    if kind is None:
        raise BadData(
            Reason.UNSUPPORTED, "Voxels of this ElementType are not read; save as integers or floats."
        )
    steps, origin, known, note = _geometry(fields, len(sizes))
    volume = outlined(
        *(sizes, np.dtype(order + kind), steps, known),
        origin=origin,
        oriented=len(sizes) > _PLANE,
        note=note,
        description=fields.get("Comment", ""),
    )
    where = required(fields, "ElementDataFile")
    skipped = whole_numbers(fields.get("HeaderSize", "0"))[0]
    local = where.upper() == "LOCAL"
    first = FROM_END if skipped < 0 else (start if local else 0) + skipped
    folded = fields.get("CompressedData", "False") == "True"
    return Outline(volume, first, folded, "" if local else beside(where))


def _fields(head: bytes) -> tuple[dict[str, str], int]:
    """Up to the last field, behind which the voxels may begin."""
    fields: dict[str, str] = {}
    at = 0
    while line := _LINE.match(head, at, HEADER_BYTES):
        fields[line[1].decode("ascii")] = line[2].decode("latin-1").strip()
        at = line.end()
        if line[1] == b"ElementDataFile":
            return fields, at
    raise BadData(Reason.CORRUPT, "The MetaImage header does not end.")


def _geometry(
    fields: dict[str, str], dimensions: int
) -> tuple[np.ndarray, np.ndarray, tuple[bool, ...], str]:
    """Steps [3, 3] and origin [3] in RAS; which steps are stated; a note. A row of the matrix is an axis."""
    stated = real_numbers(fields.get("ElementSpacing") or fields.get("ElementSize", ""))
    matrix = next(
        (fields[name] for name in ("TransformMatrix", "Rotation", "Orientation") if name in fields), ""
    )
    offset = next((fields[name] for name in ("Offset", "Position", "Origin") if name in fields), "")
    turns, corner = real_numbers(matrix), real_numbers(offset)
    wrong = (
        (stated and len(stated) != dimensions)
        or (turns and len(turns) != dimensions**2)
        or (corner and len(corner) != dimensions)
    )
    if wrong:
        raise BadData(Reason.CORRUPT, "The header's geometry has other dimensions than its voxels.")
    spatial = min(dimensions, DIMENSIONS)
    directions, steps, origin = np.eye(DIMENSIONS), np.ones(DIMENSIONS), np.zeros(DIMENSIONS)
    if turns and dimensions > _PLANE:
        directions = np.reshape(turns, (dimensions, dimensions))[:DIMENSIONS, :DIMENSIONS].T
    directions, note = _cosines(directions)
    steps[:spatial] = stated[:spatial] or 1.0
    origin[:spatial] = corner[:spatial] or 0.0
    known = tuple(bool(stated) and axis < spatial for axis in range(DIMENSIONS))
    return RAS_OF_LPS @ (directions * steps), RAS_OF_LPS @ origin, known, note


def _cosines(directions: np.ndarray) -> tuple[np.ndarray, str]:
    """Directions of length one, which lengths are not to stretch; and a word where some were of another."""
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(directions, axis=0)
    if (abs(lengths - 1) <= _ROUNDING).all() or not (np.isfinite(lengths) & (lengths > 0)).all():
        return directions, ""
    shown = " by ".join(f"{length:.4g}" for length in lengths)
    note = f"The directions of the axes are {shown} long, not 1; the lengths are taken from ElementSpacing."
    return directions / lengths, note
