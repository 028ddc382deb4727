from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.batches import Frame
from stages.ingest.content import content, same_content
from stages.ingest.site import Site
from tests.stages.ingest.maker import ramp


def digest(image_HW: NDArray[np.generic], site: Site) -> bytes:
    return content(Frame(image_HW, None), site)


@pytest.mark.parametrize("kind", ["<i4", ">u2", "<i8"])
def test_the_same_values_have_one_content(site: Site, kind: str) -> None:
    """Whatever integers a decoder made of them, and however they lie in memory."""
    image_HW = ramp()
    assert digest(image_HW, site) == digest(np.asfortranarray(image_HW.astype(kind)), site)


def test_other_values_have_another_content(site: Site) -> None:
    """One pixel is enough, as is another shape."""
    image_HW = ramp()
    changed_HW = image_HW.copy()
    changed_HW[-1, -1] += 1
    wide_HW = image_HW.reshape(image_HW.shape[0] // 2, -1)
    found = {digest(one, site) for one in (image_HW, changed_HW, wide_HW, image_HW.astype(np.float32) + 0.5)}
    assert len(found) == 4


def test_another_site_has_another_digest(site: Site) -> None:
    """Who lacks the secret cannot tell whether two sites hold one image."""
    assert digest(ramp(), site) != digest(ramp(), Site(b"\x07" * 32))


def test_digests_of_two_rules_are_not_compared() -> None:
    """A later rule calls no earlier image a conflict."""
    assert same_content(b"\x01a", b"\x02b")
    assert same_content(b"\x01a", b"\x01a")
    assert not same_content(b"\x01a", b"\x01b")
