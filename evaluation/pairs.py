"""Where labelled cases lie: three layouts of a folder, recognised by its content.

* PROMISE12: NAME.nii.gz, NAME.nii, NAME.mhd or NAME.mha beside NAME_segmentation with a suffix of these;
* PNG: NAME.png beside NAME_segmentation.png, one slice a case;
* MSD (the Medical Segmentation Decathlon, arXiv:1902.09063): imagesTr/NAME.nii.gz and labelsTr/NAME.nii.gz.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.errors import OperatorError

VOLUMES = (".nii.gz", ".nii", ".mhd", ".mha")
PICTURES = (".png",)
SUFFIXES = (*VOLUMES, *PICTURES)
TRUTH = "_segmentation"
MSD = ("imagesTr", "labelsTr")
EXPECTED = f"NAME.nii.gz (or {', '.join(SUFFIXES[1:])}) with NAME{TRUTH}.nii.gz, or {MSD[0]} with {MSD[1]}"


class CaseError(OperatorError):
    """A labelled case that cannot be used; one sentence that names the file."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Where one case lies."""

    name: str
    image: Path
    truth: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that the case is read from; the voxels of NAME.mhd lie in a second one."""
        return (*_with_voxels(self.image), *_with_voxels(self.truth))


def find_pairs(folder: Path) -> tuple[Pair, ...]:
    """The folder's cases by name. Raises CaseError where there is none, or a pair is incomplete."""
    if not folder.is_dir():
        raise CaseError(f"{folder} is not a folder of {EXPECTED}")
    images, truths = _msd(folder) if (folder / MSD[0]).is_dir() else _beside(folder)
    for name, truth in truths.items():
        if name not in images:
            wanted = name + suffix_of(truth)
            raise CaseError(f"{truth} has no image beside it: {wanted} is missing")
    for name, image in images.items():
        if name not in truths:
            wanted = f"{name}{'' if image.parent.name == MSD[0] else TRUTH}{suffix_of(image)}"
            raise CaseError(f"{image} has no reference: {wanted} is missing")
    if not truths:
        raise CaseError(f"{folder} holds no case: {EXPECTED} is expected")
    return tuple(Pair(name, images[name], truths[name]) for name in sorted(truths))


def suffix_of(path: Path) -> str:
    """The suffix that marks a file as a volume or a picture; empty for any other file."""
    return next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), "")


def _msd(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    if not (folder / MSD[1]).is_dir():
        raise CaseError(f"{folder / MSD[0]} has no references beside it: {MSD[1]} is missing")
    return _by_name(folder / MSD[0]), _by_name(folder / MSD[1])


def _beside(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    found = _by_name(folder)
    truths = {name.removesuffix(TRUTH): path for name, path in found.items() if name.endswith(TRUTH)}
    return {name: path for name, path in found.items() if not name.endswith(TRUTH)}, truths


def _by_name(folder: Path) -> dict[str, Path]:
    """Files of known suffix, by their name without it. Raises CaseError where two share a name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = suffix_of(path)
        if not suffix or path.name.startswith("."):
            continue
        name = path.name.removesuffix(suffix)
        if name in found:
            raise CaseError(f"{found[name]} and {path.name} are one case twice: take one of them away")
        found[name] = path
    return found


def _with_voxels(path: Path) -> tuple[Path, ...]:
    if suffix_of(path) != ".mhd":
        return (path,)
    for line in path.read_text(encoding="latin-1").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "ElementDataFile" and (path.parent / value.strip()).is_file():
            return path, path.parent / value.strip()
    return (path,)
