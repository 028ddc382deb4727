"""Names of result files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.deliver import names


@pytest.mark.slow
@given(st.text(max_size=300))
def test_any_name_becomes_one_that_a_file_system_takes(name: str) -> None:
    """Not empty, not hidden, no separator, short enough with what is appended."""
    stem = names.stem(f"folder/{name}")
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
    assert names.stem(f"/data/{name}") == stem
