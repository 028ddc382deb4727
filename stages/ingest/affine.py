"""Which of a NIfTI header's three accounts of its geometry to believe (nifti1.h, methods 1 to 3).

``pixdim`` states the lengths of a voxel's edges, the qform turns that box rigidly, the sform is any affine
map. Tools rewrite one and leave the others: an sform into a template's space scales and shears, and its
voxels are no longer the patient's. A volume in ml needs lengths, so where lengths disagree those are taken
that the header supports best, and a sentence says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stages.ingest.geometry import distance_fault

TEMPLATE_CODES: Final = frozenset({3, 4, 5})  # Talairach, MNI 152, another template: not this patient
_ALIKE: Final = 0.01  # lengths closer than this share are one, rounded
_SINGULAR: Final = 0.05  # of the box of its edges: a flatter voxel is no voxel
_TURNED: Final = 0.01  # of a direction cosine, about half a degree: directions closer than this are one
_MOVED: Final = 0.5  # of the shortest edge: first voxels closer than this are in one place
_UNKNOWN: Final = "The header states no usable geometry."
_UNSTATED: Final = (
    "The header states no sform, no qform, and a voxel of 1 mm, as writers leave what they do not know."
)

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stated:
    """What a header says, in millimetres; None where a transform's code is zero."""

    steps_mm: Matrix  # [3], edges of a voxel; any number, also none
    flat: tuple[bool, bool, bool]  # axes of one voxel, whose edge matters to nothing
    sform: Matrix | None  # [4, 4], voxel to RAS
    rotation: Matrix | None  # [3, 3], the qform without edges; not finite where it is damaged
    offset: Matrix  # [3], the qform's
    template: bool = False  # the sform leads into another space than the scanner's


@dataclass(frozen=True, slots=True)
class Geometry:
    """What is taken of it."""

    affine: Matrix  # [4, 4], voxel to RAS; not finite where nothing is known
    oriented: bool
    known: tuple[bool, bool, bool]  # axes whose step is stated
    note: str = ""


def reconciled(stated: Stated) -> Geometry:
    """The most believable geometry, and what was not believed."""
    steps = np.abs(stated.steps_mm)  # a sign is a flip of an old writer's, no length
    good = tuple(not distance_fault((float(step),)) for step in steps)
    sform = stated.sform if stated.sform is not None and sound(stated.sform) else None
    rotation = stated.rotation
    rigid = rotation if rotation is not None and np.isfinite(rotation).all() else None
    note = _damaged(stated, sform, rigid)
    if sform is not None:
        return _from_sform(stated, sform, rigid, note)
    if not _is_box(stated, good):
        return Geometry(np.full((4, 4), np.nan), False, (False, False, False), note or _UNKNOWN)
    box = np.where(good, steps, 1.0)
    known = (good[0], good[1], good[2])
    if rigid is not None:
        return Geometry(_boxed(rigid, box, stated.offset), True, known, note)
    if stated.sform is None and rotation is None and (box == 1).all():
        note = _UNSTATED
    return Geometry(_boxed(np.diag([-1.0, 1.0, 1.0]), box, np.zeros(3)), False, known, note)


def _from_sform(stated: Stated, sform: Matrix, rigid: Matrix | None, note: str) -> Geometry:
    """The sform's, unless its lengths are others than pixdim's and pixdim is the better witness.

    It is where a qform bears it out, the sform leads into a template's space, or pixdim is not all ones.
    """
    steps = np.abs(stated.steps_mm)
    good = tuple(not distance_fault((float(step),)) for step in steps)
    if not _is_box(stated, good):
        return Geometry(sform, True, (True, True, True), f"{note} Its pixdim holds no distances.".strip())
    if _alike(sform, steps, good):
        note = f"{note} {_elsewhere(stated, sform, rigid)}".strip()
        return Geometry(sform, True, (True, True, True), note)
    edges = f"{_shown(lengths(sform))} mm by the sform and {_shown(steps)} mm by pixdim"
    if rigid is None and not stated.template and (steps == 1).all():
        return Geometry(sform, True, (True, True, True), f"A voxel is {edges}; the sform is taken.")
    turn = _nearest_rotation(sform) if rigid is None else rigid
    offset = sform[:3, 3] if rigid is None else stated.offset
    affine = _boxed(turn, np.where(good, steps, 1.0), offset)
    return Geometry(affine, True, (good[0], good[1], good[2]), f"A voxel is {edges}; pixdim is taken.")


def _is_box(stated: Stated, good: tuple[bool, ...]) -> bool:
    """Whether pixdim has a length for every edge that matters."""
    return all(one or flat for one, flat in zip(good, stated.flat, strict=True))


def sound(affine: Matrix) -> bool:
    """Whether the map is finite, has believable steps, and spans a volume."""
    if not np.isfinite(affine).all():
        return False
    edges = lengths(affine)
    if distance_fault(tuple(map(float, edges))):
        return False
    return bool(abs(np.linalg.det(affine[:3, :3])) > _SINGULAR * np.prod(edges))


def lengths(affine: Matrix) -> Matrix:
    """How far one step along each axis leads, [3]."""
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0))


def plane_distances(affine: Matrix) -> Matrix:
    """How far apart neighbouring planes of each axis are, [3]; less than a step under shear."""
    steps = affine[:3, :3]
    areas = [np.linalg.norm(np.cross(steps[:, i], steps[:, j])) for i, j in ((1, 2), (2, 0), (0, 1))]
    return np.asarray(abs(np.linalg.det(steps)) / np.array(areas))


def _alike(sform: Matrix, steps: Matrix, good: tuple[bool, ...]) -> bool:
    """By its edges, or by the distances of its planes: of a tilted gantry's stack writers state either."""
    return any(
        bool((np.abs(found - steps) <= _ALIKE * steps)[list(good)].all())
        for found in (lengths(sform), np.append(lengths(sform)[:2], plane_distances(sform)[2]))
    )


def _elsewhere(stated: Stated, sform: Matrix, rigid: Matrix | None) -> str:
    """How the qform leads elsewhere than an sform of the same lengths, as a sentence; empty where not."""
    if rigid is None:
        return ""
    edges = lengths(sform)
    matters = [axis for axis in range(3) if not stated.flat[axis]]
    turned = np.abs(sform[:3, :3] / edges - rigid)[:, matters].max(initial=0.0) > _TURNED
    moved_mm = float(np.linalg.norm(sform[:3, 3] - stated.offset))
    ways = ["other directions"] * bool(turned)
    if not moved_mm <= _MOVED * edges.min():
        ways.append(f"a first voxel {moved_mm:.4g} mm away")
    return f"The qform has {' and '.join(ways)}; the sform is taken." if ways else ""


def _damaged(stated: Stated, sform: Matrix | None, rigid: Matrix | None) -> str:
    lost = [
        name
        for name, given, kept in (("sform", stated.sform, sform), ("qform", stated.rotation, rigid))
        if given is not None and kept is None
    ]
    return f"Its {' and '.join(lost)} {'spans' if len(lost) == 1 else 'span'} no volume." if lost else ""


def _boxed(turn: Matrix, steps: Matrix, offset: Any) -> Matrix:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * steps, offset
    return affine


def _nearest_rotation(affine: Matrix) -> Matrix:
    """The orthogonal matrix nearest to the directions of the axes (polar decomposition)."""
    left, _, right = np.linalg.svd(affine[:3, :3] / lengths(affine))
    return np.asarray(left @ right)


def _shown(values: Matrix) -> str:
    return " by ".join(f"{value:.4g}" for value in values)
