"""Whole files and safe names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.deliver import files


def test_a_crash_before_the_rename_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens while writing, the reader sees the old content whole."""
    target = tmp_path / "x.json"
    files.write_whole(target, b"old")

    def crash(_self: Path, _target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        files.write_whole(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.slow
@given(st.text(max_size=300))
def test_any_name_becomes_one_that_a_file_system_takes(name: str) -> None:
    """Not empty, not hidden, no separator, short enough with what is appended."""
    stem = files.stem(f"folder/{name}")
    assert stem
    assert not stem.startswith((".", "-"))
    assert not set(stem) & set('/\\\0:*?"<>|\n ')
    assert len(stem.encode()) <= 200


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("Case04.nii.gz", "Case04"),
        ("a.b.PNG", "a.b"),
        ("scan.bin", "scan.bin"),
        ("x y(1).jpeg", "x_y_1_"),
        (".png", "image"),
        ("..", "image"),
    ],
)
def test_the_image_suffix_goes_and_the_rest_stays(name: str, stem: str) -> None:
    """Names are kept as far as they are safe."""
    assert files.stem(f"/data/{name}") == stem
