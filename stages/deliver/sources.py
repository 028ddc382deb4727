"""Source pixels once more, as ingest decoded them, for the few slices that are shown."""

from __future__ import annotations

from collections.abc import Sequence

from stages.batches import Frame
from stages.deliver.planes import Plane, by_file
from stages.ingest.dicom import open_dicom
from stages.ingest.faults import BadData, reading
from stages.ingest.options import IngestOptions
from stages.ingest.volumes import open_volume
from stages.places import FileKind


def decoded(planes: Sequence[Plane], limits: IngestOptions) -> dict[bytes, Frame]:
    """Frames by key; one that cannot be had, or has another shape than its mask, is left out."""
    frames: dict[bytes, Frame] = {}
    for path, results in by_file([plane.result for plane in planes]).items():
        wanted = [result.place.frame for result in results]
        nifti = results[0].place.kind is FileKind.NIFTI
        opened = open_volume(path, wanted, limits) if nifti else open_dicom(path, limits)
        try:
            with reading(), opened as source:
                for result in results:
                    frame = source.frame(result.place.frame)
                    if frame.image.shape == result.mask.shape:
                        frames[result.key] = frame
        except BadData:
            continue
    return frames
