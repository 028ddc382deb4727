"""Odd series and what the product makes of them, beside what is right: right, wrong or said.

    python -m benchmarks.situations [--cases ../shared/cases] [--only NAME] [--json]

Each case is a small archive with one situation that hospitals reported to other DICOM tools. It is streamed
alone with the shipped weights, on threads, and judged against the sound control of its kind in the same run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image
from pydicom import Dataset, dcmread

from benchmarks.report import at_least, emit, table
from pipeline.config import load
from pipeline.run.dead_letters import Letter, read
from pipeline.run.job import Job
from pipeline.run.run import run
from stages.encrypt.keys.folder import new_keys

ML = 0.005  # relative: volumes closer than this are one
DICE = 0.99


@dataclass(frozen=True)
class Outcome:
    """What a run left behind."""

    documents: list[dict[str, Any]]  # measurements.json of each series
    results: Path
    letters: list[Letter]
    summary: dict[str, Any]

    @property
    def masks(self) -> list[dict[str, Any]]:
        """All mask files, as they are listed."""
        return [mask for document in self.documents for mask in document["masks"]]

    @property
    def segs(self) -> list[dict[str, Any]]:
        """Those that are DICOM Segmentations."""
        return [mask for mask in self.masks if mask["file"].endswith(".dcm")]

    @property
    def flags(self) -> set[str]:
        """Every flag of every series and stack."""
        both = [*self.documents, *self.masks]
        return {flag["flag"] for one in both for flag in one.get("flags", [])}

    def volumes(self) -> list[float | None]:
        """Of each segmentation, in the order of the list."""
        return [mask["volume_ml"] for mask in self.segs]

    def seg(self) -> Dataset:
        """The first segmentation."""
        return dcmread(next(path for path in sorted(self.results.rglob("*.dcm"))))

    def picture(self) -> np.ndarray[Any, Any]:
        """The mask of a picture."""
        (path,) = [*self.results.rglob("*_mask.png"), *self.results.rglob("*_mask.tif")]
        return np.asarray(Image.open(path) if path.suffix == ".png" else tifffile.imread(path)) > 0


Judge = Callable[[Outcome, Mapping[str, Outcome]], bool]


def stream(case: Path, work: Path) -> Outcome:
    """Run one case by itself."""
    keys = work / "keys"
    new_keys(keys, None)
    results = work / "results"
    settings = load(None, {"run": {"engine": "local", "device": "cpu"}})
    summary = run(Job((str(case),), work / "index", results, keys, settings))
    documents = [json.loads(path.read_text()) for path in sorted(results.glob("*/measurements.json"))]
    return Outcome(documents, results, read(results), summary.as_json())


def near(value: float | None, wanted: float, tolerance: float = ML) -> bool:
    """Whether a volume is the wanted one."""
    return value is not None and abs(value - wanted) <= tolerance * wanted


def as_control(control: str) -> Judge:
    """One segmentation, with the slices and the volume of the control, and no dead letter."""

    def judge(found: Outcome, controls: Mapping[str, Outcome]) -> bool:
        (sound,) = controls[control].segs
        return (
            len(found.segs) == 1
            and not found.letters
            and len(found.segs[0]["slices"]) == len(sound["slices"])
            and near(found.segs[0]["volume_ml"], sound["volume_ml"])
        )

    return judge


def has_volume(wanted: float | None, tolerance: float = ML, slices: int = 20) -> Judge:
    """A segmentation of so many slices has this volume; None: that of the control ``base``."""

    def judge(found: Outcome, controls: Mapping[str, Outcome]) -> bool:
        aim = controls["base"].segs[0]["volume_ml"] if wanted is None else wanted
        of_size = [mask for mask in found.segs if len(mask["slices"]) == slices]
        return len(of_size) == 1 and near(of_size[0]["volume_ml"], aim, tolerance)

    return judge


def stacks(count: int, slices: int = 20) -> Judge:
    """So many segmentations of so many slices."""

    def judge(found: Outcome, _: Mapping[str, Outcome]) -> bool:
        return [len(mask["slices"]) for mask in found.segs] == [slices] * count

    return judge


def volumes(*wanted: float, tolerance: float = 0.01) -> Judge:
    """These volumes, whatever their order."""

    def judge(found: Outcome, _: Mapping[str, Outcome]) -> bool:
        known = sorted(volume for volume in found.volumes() if volume is not None)
        return len(known) == len(wanted) and all(map(near, known, sorted(wanted), [tolerance] * len(known)))

    return judge


def flagged(*names: str) -> Judge:
    """The result states these flags."""
    return lambda found, _: set(names) <= found.flags


def no_seg(found: Outcome, _: Mapping[str, Outcome]) -> bool:
    """One mask image in place of segmentations, with its reason and without volume."""
    return not found.segs and len(found.masks) == 1 and bool(found.masks[0].get("why"))


def no_invented_distance(found: Outcome, _: Mapping[str, Outcome]) -> bool:
    """A segmentation of one slice states no distance between slices."""
    shared = found.seg().SharedFunctionalGroupsSequence[0]
    return "SpacingBetweenSlices" not in shared.PixelMeasuresSequence[0]


def distance(millimetres: float) -> Judge:
    """The segmentation states this distance between slices."""

    def judge(found: Outcome, _: Mapping[str, Outcome]) -> bool:
        shared = found.seg().SharedFunctionalGroupsSequence[0]
        stated = shared.PixelMeasuresSequence[0].get("SpacingBetweenSlices")
        return stated is not None and abs(float(stated) - millimetres) < 1e-3

    return judge


def upright(found: Outcome, controls: Mapping[str, Outcome]) -> bool:
    """The mask of the upright picture, turned back to the stored one: a quarter clockwise upright."""
    return dice(np.rot90(found.picture(), -1), controls["p_jpg"].picture()) >= DICE


def as_picture(control: str) -> Judge:
    """The mask of the control picture."""
    return lambda found, controls: dice(found.picture(), controls[control].picture()) >= DICE


def dice(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """2 |A and B| / (|A| + |B|); 0 where the shapes differ."""
    return 0.0 if one.shape != other.shape else float(2 * (one & other).sum() / (one.sum() + other.sum()))


def letters(reason: str, *words: str) -> Judge:
    """All is refused for this reason, in a sentence with these words."""

    def judge(found: Outcome, _: Mapping[str, Outcome]) -> bool:
        mine = [letter for letter in found.letters if letter.reason == reason]
        return bool(mine) and all(word in letter.detail for letter in mine for word in words)

    return judge


def conflicts(found: Outcome, controls: Mapping[str, Outcome]) -> bool:
    """One series is as the control; every image of the other is a letter that names the first's file."""
    return (
        len(found.letters) == len(controls["base"].segs[0]["slices"])
        and letters("conflict", "/A/")(found, controls)
        and len(found.segs) == 1
        and near(found.segs[0]["volume_ml"], controls["base"].segs[0]["volume_ml"])
    )


def nothing_known(found: Outcome, _: Mapping[str, Outcome]) -> bool:
    """No volume where the spacing is unknown."""
    return all(mask["volume_ml"] is None for mask in found.masks)


def read_or_named(found: Outcome, controls: Mapping[str, Outcome]) -> bool:
    """Read as a volume, or refused by the format's name."""
    if found.letters:
        return any("MetaImage" in letter.detail for letter in found.letters)
    aim = controls["base"].segs[0]["volume_ml"]
    return all(near(mask["volume_ml"], aim, 0.02) for mask in found.masks)


CASES: Mapping[str, tuple[str, tuple[Judge, ...]]] = {
    "split_dirs": ("one series over two folders", (as_control("base"),)),
    "partial_copy": ("copies of slices in a second folder", (as_control("base"),)),
    "dup_copy": ("a file twice", (as_control("base"),)),
    "uid_clash": ("two patients under one series UID", (volumes(52.63, 40.79),)),
    "sop_clash": ("other pixels under known SOP UIDs", (conflicts,)),
    "enh_shuffled": ("enhanced MR, frames in any order", (as_control("enh_control"),)),
    "enh_single": ("enhanced objects of one frame", (as_control("enh_control"),)),
    "enh_concat": ("a concatenation of two objects", (as_control("enh_control"),)),
    "enh_bvals": ("two b-values at each position", (stacks(2),)),
    "enh_3plane": ("localiser planes in an enhanced object", (has_volume(None),)),
    "enh_var": ("1.5 mm, then 3 mm, enhanced", (has_volume(49.3, 0.01, 30), flagged("uneven_spacing"))),
    "var_spacing": ("1.5 mm, then 3 mm", (has_volume(49.3, 0.01, 30), flagged("uneven_spacing"))),
    "loc_mixed": ("a localiser among the slices", (has_volume(None),)),
    "dce5": ("five phases", (stacks(5), volumes(*[52.63] * 5))),
    "gap_missing": ("three slices missing", (has_volume(52.3, 0.01, 17), flagged("missing_slices"))),
    "iop_jitter": ("cosines that differ by 1e-6", (as_control("base"),)),
    "ipp_missing": ("no positions", (no_seg,)),
    "ipp_same": ("equal positions", (no_seg,)),
    "n_mni": ("an sform scaled by 1.3", (lambda found, _: near(found.masks[0]["volume_ml"], 52.63, 0.01),)),
    "sbs_gap": ("SpacingBetweenSlices as a gap", (as_control("base"), distance(3.0))),
    "sbs_negative": ("a negative SpacingBetweenSlices", (as_control("base"), distance(3.0))),
    "single_nothick": ("one slice without thickness", (no_invented_distance, flagged("one_slice"))),
    "ps_zero": ("PixelSpacing 0", (no_seg, nothing_known)),
    "p_exif6": ("a JPEG on its side", (upright,)),
    "p_tifor6": ("a TIFF on its side", (upright,)),
    "p_miw16lzw": ("LZW, 16 bit, min is white", (as_picture("p_miw16"),)),
    "d_comma": ("a decimal comma", (as_control("base"),)),
    "ps_one": ("one value of PixelSpacing", (as_control("base"),)),
    "d_12bit": ("12 bits allocated", (letters("unsupported", "12"),)),
    "m_mha": ("MetaImage", (read_or_named,)),
}


def shown(found: Outcome) -> str:
    """The outcome in a few words."""
    known = ["-" if mask["volume_ml"] is None else f"{mask['volume_ml']:.2f}" for mask in found.masks]
    masks = [
        f"{len(mask['slices'])} slices {volume} ml" for mask, volume in zip(found.masks, known, strict=True)
    ]
    letters_ = [f"{len(found.letters)} letters ({found.letters[0].reason})"] if found.letters else []
    return "; ".join([*masks, *letters_, " ".join(sorted(found.flags))]).strip("; ")


def main() -> int:
    """Stream every case and judge it; 1 where one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=Path, default=Path("../shared/cases"))
    parser.add_argument("--only", default="")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.cases.is_dir():
        sys.exit(f"there is no folder {options.cases}: the cases are not part of the project")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        controls: dict[str, Outcome] = {}
        for archive in sorted(options.cases.glob("*.tar.xz")):
            name = archive.name.removesuffix(".tar.xz")
            control = name.startswith("control_")
            name = name.removeprefix("control_")
            if not control and options.only not in name:
                continue
            with tarfile.open(archive) as packed:
                packed.extractall(Path(folder) / "in", filter="data")
            work = Path(folder) / name
            found = stream(Path(folder) / "in" / name, work)
            if control:
                controls[name] = found
            elif name in CASES:
                what, judges = CASES[name]
                verdict = "right" if all(judge(found, controls) for judge in judges) else "wrong"
                rows.append({"case": name, "what": what, "verdict": verdict, "found": shown(found)})
    right = sum(row["verdict"] == "right" for row in rows)
    goals = [at_least("situations that come out right", right, f"of {len(rows)}", len(rows))]
    emit("situations", rows, goals, ("pydicom", "highdicom"), as_json=options.json, text=table(rows))
    return int(right < len(rows))


if __name__ == "__main__":
    sys.exit(main())
