"""NRRD headers (.nrrd, .nhdr), versions 1 to 5 of teem.sourceforge.net/nrrd/format.html: ``field: value``."""

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

NRRD_MAGIC: Final = re.compile(rb"NRRD000[1-5]\r?\n")
_END: Final = re.compile(rb"\r?\n\r?\n")
_TYPES: Final = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
_SPACES: Final = {
    **dict.fromkeys(("left-posterior-superior", "lps"), RAS_OF_LPS),
    **dict.fromkeys(("right-anterior-superior", "ras"), np.eye(3)),
    **dict.fromkeys(("left-anterior-superior", "las"), np.diag([-1.0, 1.0, 1.0])),
}
_ROUNDING: Final = 0.01  # of a length
_FOLDED: Final = {"raw": False, "gzip": True, "gz": True}
_UNITS: Final = {"m": 1000.0, "cm": 10.0, "um": 0.001, "µm": 0.001}  # all others are millimetres
_SPATIAL_KINDS: Final = frozenset({"domain", "space", "???", "none", ""})
_DIRECTION: Final = re.compile(r"none|\(([^()]*)\)", re.IGNORECASE)
_SEGMENT: Final = re.compile(r"segment\d+_", re.IGNORECASE)  # of a segmentation that 3D Slicer saved


def nrrd(head: bytes) -> Outline:
    """The header in the first bytes of a file."""
    fields, start = _fields(head)
    sizes = whole_numbers(required(fields, "sizes"))
    if len(sizes) != whole_numbers(required(fields, "dimension"))[0]:
        raise BadData(Reason.CORRUPT, "The header has other sizes than it counts.")
    kinds = (fields.get("kinds") or "none " * len(sizes)).lower().split()
    if len(kinds) != len(sizes):
        raise BadData(Reason.CORRUPT, "The header has other kinds than sizes.")
    if any(size > 1 and kind not in _SPATIAL_KINDS for size, kind in zip(sizes, kinds, strict=True)):
        raise BadData(
            Reason.UNSUPPORTED, "Several values a voxel, or several volumes, are not read; save as NIfTI."
        )
    kind, folded = (
        _TYPES.get(required(fields, "type").lower()),
        _FOLDED.get(required(fields, "encoding").lower()),
    )
    if kind is None or folded is None or fields.get("line skip", "0") != "0":
        detail = "This type or encoding of voxels is not read; save with the encoding raw or gzip."
        raise BadData(Reason.UNSUPPORTED, detail)
    order = ">" if fields.get("endian", "").lower() == "big" else "<"
    axes = [axis for axis, size in enumerate(sizes) if size > 1 or len(sizes) <= DIMENSIONS]
    steps, origin, known, oriented, note = _geometry(fields, axes, len(sizes))
    volume = outlined(
        *([sizes[axis] for axis in axes], np.dtype(order + kind), steps, known),
        origin=origin,
        oriented=oriented,
        note=note,
        description=fields.get("content", ""),
    )
    name = fields.get("data file") or fields.get("datafile") or ""
    skipped = whole_numbers(fields.get("byte skip") or fields.get("byteskip") or "0")[0]
    first = FROM_END if skipped < 0 else (0 if name else start) + skipped
    return Outline(volume, first, folded, beside(name) if name else "")


def _fields(head: bytes) -> tuple[dict[str, str], int]:
    """The fields in small letters, and where the blank line behind them ends."""
    end = _END.search(head, 0, HEADER_BYTES)
    lines = head[: end.start() if end else HEADER_BYTES].decode("latin-1").splitlines()[1:]
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if _SEGMENT.match(name):
            raise BadData(Reason.NOT_TO_SEGMENT, "The volume is a segmentation.")
        if colon and not line.startswith("#") and not value.startswith("="):
            fields[name.strip().lower()] = value.strip()
    return fields, end.end() if end else len(head)


def _geometry(
    fields: dict[str, str], axes: list[int], dimensions: int
) -> tuple[np.ndarray, tuple[float, ...], tuple[bool, ...], bool, str]:
    """Steps [3, 3] and origin [3] in RAS, which steps are stated, whether their directions are; a note."""
    units = re.findall(r'"([^"]*)"', fields.get("space units", ""))
    scale = _UNITS.get(units[0], 1.0) if units else 1.0
    to_ras = _SPACES.get(fields.get("space", "").lower())
    turn = np.eye(3) if to_ras is None else to_ras
    found = list(_DIRECTION.finditer(fields.get("space directions", "")))
    distances = real_numbers(fields.get("spacings", ""))
    if (found and len(found) != dimensions) or (distances and len(distances) != dimensions):
        raise BadData(Reason.CORRUPT, "The header's geometry has other dimensions than its voxels.")
    steps, known = np.eye(3), [False] * DIMENSIONS
    for column, axis in enumerate(axes[:DIMENSIONS]):
        vector = real_numbers((found[axis][1] or "").replace(",", " ")) if found else ()
        if len(vector) == DIMENSIONS:
            steps[:, column], known[column] = scale * (turn @ vector), True
        elif not found and distances and np.isfinite(distances[axis]):
            steps[:, column], known[column] = scale * distances[axis] * np.eye(3)[column], True
    corner = real_numbers(fields.get("space origin", "").strip("()").replace(",", " "))
    origin = tuple(scale * (turn @ corner)) if len(corner) == DIMENSIONS else (0.0, 0.0, 0.0)
    oriented = to_ras is not None and bool(found) and all(known)
    edges = np.linalg.norm(steps, axis=0)
    stated = [scale * distances[axis] for axis in axes[:DIMENSIONS]] if found and distances else []
    return steps, origin, tuple(known), oriented, _disagreement(edges[: len(stated)], stated)


def _disagreement(edges: np.ndarray, stated: list[float]) -> str:
    """A word where ``spacings`` stand beside ``space directions``, against the format, and differ."""
    pairs = [(edge, other) for edge, other in zip(edges, stated, strict=True) if np.isfinite(other)]
    if all(abs(edge - abs(other)) <= _ROUNDING * edge for edge, other in pairs):
        return ""
    first, second = (" by ".join(f"{one:.4g}" for one in column) for column in zip(*pairs, strict=True))
    return f"A voxel is {first} mm by space directions and {second} mm by spacings; the directions are taken."
