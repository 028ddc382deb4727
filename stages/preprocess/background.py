"""The patient's outline on the field: largest bright component, holes and hollows filled.

A plain Otsu threshold (IEEE Trans. SMC 9(1), 1979) is no outline on prostate MRI: beside an endorectal
coil it parts flare from tissue. Here it is taken on square roots and lowered by ``OTSU_SHARE``, which on
the labelled PROMISE12 cases keeps every gland pixel; only air and signal void are left outside.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.preprocess.contrast import LEVELS

OTSU_SHARE = 0.4  # of the threshold on square roots


def foreground(unit_HW: NDArray[np.float32], seen_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The patient within ``seen_HW``, from values in 0..1; all that is seen where nothing stands out."""
    return outline((np.sqrt(unit_HW) * LEVELS).astype(np.uint8), seen_HW)


def outline(root_HW: NDArray[np.uint8], seen_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The patient, from the square roots of the values in levels of 0 to ``LEVELS``."""
    seen = seen_HW.view(np.uint8)
    root_1S = (root_HW if seen_HW.all() else root_HW[seen_HW]).reshape(1, -1)  # OpenCV loops over rows
    otsu = int(cv2.threshold(root_1S, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0])
    count_256 = cv2.calcHist([root_HW], [0], seen, [256], [0, 256]).ravel().astype(np.float64)
    below, above = count_256[: otsu + 1], count_256[otsu + 1 :]
    if not above.any() or not below.any():
        return seen_HW
    # Otsu's method returns the lower end of a gap in the histogram; its middle is what is meant.
    middle = (_mean(below, 0) + _mean(above, otsu + 1)) / 2
    bright_HW = ((root_HW > middle * OTSU_SHARE) & seen_HW).view(np.uint8)
    contours, _ = cv2.findContours(bright_HW, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    # An axial outline is convex: the hull fills holes and the hollows that signal voids cut into it.
    hull = cv2.convexHull(max(contours, key=cv2.contourArea))
    filled_HW = np.zeros(root_HW.shape, np.uint8)
    cv2.fillConvexPoly(filled_HW, hull, 1)
    patient_HW: NDArray[np.bool_] = (filled_HW != 0) & seen_HW
    return patient_HW


def _mean(count: NDArray[np.float64], first: int) -> float:
    """The mean level of a histogram whose levels start at ``first``."""
    return float(count @ np.arange(first, first + len(count)) / count.sum())
