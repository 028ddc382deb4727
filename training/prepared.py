"""A cache of prepared cases on disk, so that a queue that continues starts in seconds.

The digests of a case's files, the recipe and the code that prepares it are the key of its entry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from evaluation.pairs import Pair
from stages.files import make_directory, write_whole
from stages.preprocess.options import PreprocessOptions
from training.dataset import Labelled, digests, read_labelled

ROOT = Path(__file__).parents[1]
CODE = ("stages/ingest", "stages/preprocess", "evaluation/cases.py", "training/dataset.py")


def prepared(pairs: Iterable[Pair], recipe: PreprocessOptions, folder: Path) -> Iterator[Labelled]:
    """The cases one by one: read from the cache, or prepared and stored there. Raises CaseError."""
    make_directory(folder)
    code = _code()
    for pair in pairs:
        files = digests(pair)
        identity = hashlib.sha256(files + repr(asdict(recipe)).encode() + code).hexdigest()
        path = folder / f"{identity}.safetensors"
        kept = _kept(path, pair.name, files)
        if kept is None:
            (kept,) = read_labelled([pair], recipe)
            tensors = {"x": kept.x_NCHW, "truth": kept.truth_N1HW.to(torch.uint8)}
            write_whole(path, save(tensors))
        yield kept


def _kept(path: Path, name: str, files: bytes) -> Labelled | None:
    """A case from its cache file; None where that is missing or damaged."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError):
        return None
    return Labelled(name, tensors["x"], tensors["truth"].float(), files)


def _code() -> bytes:
    """A digest of the code that turns files into slices."""
    paths = [path for at in CODE for path in (sorted((ROOT / at).rglob("*.py")) or [ROOT / at])]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).digest()
