"""What is refused as an int8 model without quantising one; the rest is in test_int8.py."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pytest

from stages.segment import checkpoint, int8
from stages.segment.int8 import ArtefactError, ArtefactManifest


def test_an_artefact_without_its_model_is_not_whole(tiny_weights: Path) -> None:
    """Its manifest is sound, so the sentence tells of the files and how to make them."""
    info = checkpoint.describe(tiny_weights)
    manifest = ArtefactManifest(int8.FORMAT, info.digest, "c" * 64, 32, version("openvino"), "0", {})
    folder = int8.folder_of(info, None)
    folder.mkdir()
    (folder / int8.MANIFEST).write_text(json.dumps(asdict(manifest)))
    with pytest.raises(ArtefactError, match="is not whole: make it with 'medsecure quantise'"):
        int8.read(info, None)
