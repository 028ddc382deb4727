"""Where a frame lies: on this site's storage, and in which stack of its series."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stages.doubt import Doubt


class FileKind(StrEnum):
    """How a file is read, found from its content, never from its suffix."""

    DICOM = "dicom"
    NIFTI = "nifti"
    RASTER = "raster"


@dataclass(frozen=True, slots=True)
class Place:
    """One frame on this site's storage: a file and the frame's number in it, from 0."""

    path: str
    frame: int
    kind: FileKind


@dataclass(frozen=True, slots=True)
class StackId:
    """Which stack of its series a row is of: slices of one orientation, shape and acquisition, in order.

    What a neighbour is, what is cut, the largest object, a volume and a segmentation all go by stack.
    """

    number: int = 1  # from 1, in the order of acquisition
    of: int = 1  # how many stacks the series has
    slices: int = 0  # how many slices the source holds of it, those refused later included; 0: unknown
    doubt: Doubt = Doubt.NONE
    conflicts: int = 0  # of how many of its slices the source holds another image under the same identifier


@dataclass(frozen=True, slots=True)
class Held:
    """What an earlier run delivered under a row's record id, and from where; the file may be gone."""

    content: bytes  # the keyed digest of its pixels (stages.ingest.content)
    path: str
    day: str  # as YYYY-MM-DD
    geometry: str = ""  # what its header stated (stages.ingest.likeness)
