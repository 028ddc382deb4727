from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from evaluation.cases import Case
from evaluation.report_html import SIDE, SLICES, WORST, WorstCases, chosen, picture_png
from evaluation.scoring import CaseScore, Evaluation, score
from stages.batches import Frame, Frames, Rows
from stages.grid import Display


def case(name: str = "a", count: int = 12, display: Display = Display()) -> Case:
    """A box in the middle slices of pixels of 1 x 0.5 mm."""
    rng = np.random.default_rng(0)
    images = rng.normal(100, 5, (count, 40, 60)).astype(np.float32)
    frames = tuple(Frame(image, (1.0, 0.5), display) for image in images)
    truth_SHW = np.zeros((count, 40, 60), np.bool_)
    truth_SHW[2:10, 15:25, 20:40] = True
    return Case(name, Frames(Rows((), (), (), ()), frames), truth_SHW, (3.0, 1.0, 0.5))


def test_only_the_worst_are_kept() -> None:
    """Of many cases those of lowest Dice stay, worst first."""
    worst_cases = WorstCases()
    for number in range(12):
        worst_cases.keep(
            case(str(number)), CaseScore(str(number), number / 20, 0, None, None, 1, 1), np.zeros(1)
        )
    assert [one[0].name for one in worst_cases.worst] == [str(i) for i in range(WORST)]


def test_page_stands_alone_and_says_everything() -> None:
    """All figures and pictures are in it; it loads nothing and runs nothing; names are text."""
    worst_cases = WorstCases()
    one = replace(case(), name="<b>&")
    mask = one.truth_SHW.copy()
    mask[5] = False
    found = score(one, mask)
    worst_cases.keep(one, found, mask)
    page = worst_cases.page(Evaluation((found,), 0.5), "prostate 1234")
    HTMLParser().feed(page)
    assert f"{found.dice_volume:.3f}" in page
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page.replace("<b>&lt;", "")
    assert page.count("<img ") == SLICES
    assert "prostate 1234" in page
    assert not re.search(r"<script|https?://|src=\"(?!data:)", page)


def colours(png: bytes) -> tuple[int, int]:
    """How many pixels are green, as the reference's outline, and red, as the mask's."""
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR).astype(int)
    blue, green, red = np.moveaxis(picture, 2, 0)
    return int((green > np.maximum(red, blue) + 60).sum()), int((red > np.maximum(green, blue) + 60).sum())


@pytest.mark.parametrize("display", [Display(), Display(transpose=True, flip_rows=True)])
def test_picture_has_both_outlines_in_true_aspect(display: Display) -> None:
    """Square millimetres are square on the page, whatever the display orientation."""
    one = case(display=display)
    mask = np.roll(one.truth_SHW, 4, axis=1)
    png = picture_png(one, mask, 5)
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert max(picture.shape[:2]) == SIDE
    assert min(colours(png)) > 50


def test_slices_are_spread_over_the_structure() -> None:
    """First and last slice of either are shown; of an empty case, slices of the whole volume."""
    one = case()
    assert (chosen(one.truth_SHW, one.truth_SHW)[0], chosen(one.truth_SHW, one.truth_SHW)[-1]) == (2, 9)
    empty = np.zeros_like(one.truth_SHW)
    assert chosen(empty, empty) == sorted(set(chosen(empty, empty)))
    assert chosen(empty, empty)[-1] == 11


def test_constant_slice_is_shown_black() -> None:
    """What preprocessing would reject can still be looked at."""
    one = case()
    frames = tuple(replace(frame, image=np.full((40, 60), 7, np.int16)) for frame in one.frames.frames)
    flat = replace(one, frames=replace(one.frames, frames=frames))
    assert colours(picture_png(flat, one.truth_SHW, 5))[1] > 50
