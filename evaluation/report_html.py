"""The evaluation as one HTML page: figures of all cases, outlines on the worst of them.

The page embeds its pictures and needs no other file. The pictures show patients: store it as their images.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.preprocess.grid import displayed
from stages.preprocess.intensity import clip_percentiles, unit_range

if TYPE_CHECKING:
    from evaluation.cases import Case
    from evaluation.dice import VolumeMask
    from evaluation.scoring import CaseScore, Evaluation
    from stages.batches import Frame

WORST = 5  # cases shown
SLICES = 8  # of each
SIDE = 260  # pixels of a picture's longer side
MARGIN = 0.8  # of the structure's extent, shown around it
REFERENCE, MASK = (90, 210, 60), (60, 80, 255)  # blue, green, red

STYLE = """
:root { color-scheme: dark }
body { background: #14171a; color: #dfe3e6; font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 74rem; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem } b { color: #fff }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .15rem .9rem; text-align: right }
td:first-child, th:first-child { text-align: left; padding-left: 0 } th { color: #8d979e; font-weight: 500 }
tr + tr td { border-top: 1px solid #262b30 }
.case { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .5rem }
figure { margin: 0 } img { width: 100%; display: block; border-radius: 4px }
figcaption { color: #8d979e; font-size: .85em }
.key i { display: inline-block; width: 1.6em; height: 3px; vertical-align: middle; margin: 0 .4em 0 1em }
footer { color: #8d979e; margin-top: 2rem }
"""


@dataclass
class WorstCases:
    """Keeps the worst cases during an evaluation; their number bounds its memory."""

    worst: list[tuple[CaseScore, Case, VolumeMask]] = field(default_factory=list)

    def keep(self, case: Case, score: CaseScore, mask_SHW: VolumeMask) -> None:
        """Add a case; when there are too many, the best of them is dropped."""
        self.worst.append((score, case, mask_SHW))
        self.worst.sort(key=lambda one: one[0].dice_volume)
        del self.worst[WORST:]

    def page(self, evaluation: Evaluation, model: str) -> str:
        """The HTML document."""
        mean, interval = evaluation.mean["dice_volume"], evaluation.interval_95["dice_volume"]
        between = f" (95 % interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
        sections = "".join(_section(*one) for one in self.worst)
        return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Segmentation against the reference</title><style>{STYLE}</style>
<h1>Segmentation against the reference</h1>
<p>Mean volume Dice over {len(evaluation.cases)} patients <b>{mean:.3f}</b>{between},
pooled {evaluation.pooled_dice:.3f}. Model {escape(model)}.</p>
{_table(evaluation)}
<p class="key">The {len(self.worst)} worst, worst first. <i style="background:{_css(REFERENCE)}"></i>reference
<i style="background:{_css(MASK)}"></i>model</p>
{sections}
<footer>Not a medical device. These pictures show patients: keep the page where their images are.</footer>
</html>
"""


def _table(evaluation: Evaluation) -> str:
    heads = ("case", "Dice", "Dice of slices", "HD95 mm", "ASD mm", "ml", "true ml")
    rows = []
    for one in sorted(evaluation.cases, key=lambda case: case.dice_volume):
        dice = [f"{value:.3f}" for value in (one.dice_volume, one.dice_slices)]
        rest = [_figure(v) for v in (one.hd95_mm, one.asd_mm, one.volume_ml, one.volume_true_ml)]
        rows.append((escape(one.name), *dice, *rest))
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f}"


def _section(score: CaseScore, case: Case, mask_SHW: VolumeMask) -> str:
    figures = []
    for number in chosen(mask_SHW, case.truth_SHW):
        picture = base64.b64encode(picture_png(case, mask_SHW, number)).decode()
        name = f"{escape(case.name)}, slice {number + 1}"
        figures.append(
            f'<figure><img alt="{name}" src="data:image/png;base64,{picture}">'
            f"<figcaption>slice {number + 1} of {len(case.frames)}</figcaption></figure>"
        )
    title = f"<h2>{escape(score.name)}: Dice {score.dice_volume:.3f}</h2>"
    return f'{title}<div class="case">{"".join(figures)}</div>'


def chosen(mask_SHW: VolumeMask, truth_SHW: VolumeMask) -> list[int]:
    """Up to SLICES slice numbers, evenly over those where either is; over all where neither is."""
    shown = np.flatnonzero((mask_SHW != 0).any((1, 2)) | (truth_SHW != 0).any((1, 2)))
    shown = shown if len(shown) else np.arange(len(mask_SHW))
    at = np.linspace(0, len(shown) - 1, min(SLICES, len(shown))).round().astype(int)
    return [int(number) for number in shown[at]]


def picture_png(case: Case, mask_SHW: VolumeMask, number: int) -> bytes:
    """One slice in display orientation and true aspect, around the structure, with both outlines."""
    frame = case.frames.frames[number]
    near = _near((mask_SHW != 0).any(0) | case.truth_SHW.any(0), frame)
    grey_HW = _grey(frame)[near]
    row_mm, column_mm = frame.spacing_mm or (1.0, 1.0)
    if frame.display.transpose:
        row_mm, column_mm = column_mm, row_mm
    scale = SIDE / max(grey_HW.shape[0] * row_mm, grey_HW.shape[1] * column_mm)
    size = round(grey_HW.shape[1] * column_mm * scale), round(grey_HW.shape[0] * row_mm * scale)
    picture_HW3 = cv2.cvtColor(cv2.resize(grey_HW, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    for volume, colour in ((case.truth_SHW, REFERENCE), (mask_SHW, MASK)):
        inside_HW = displayed((volume[number] != 0).astype(np.float32), frame.display)[near]
        large_HW = cv2.resize(np.ascontiguousarray(inside_HW), size, interpolation=cv2.INTER_LINEAR)
        outline, _ = cv2.findContours(
            (large_HW >= 0.5).astype(np.uint8),  # noqa: PLR2004  # half of 0..1
            cv2.RETR_LIST,
            cv2.CHAIN_APPROX_NONE,
        )
        cv2.polylines(picture_HW3, outline, isClosed=True, color=colour, thickness=1, lineType=cv2.LINE_AA)
    return bytes(cv2.imencode(".png", picture_HW3)[1])


def _grey(frame: Frame) -> NDArray[np.uint8]:
    """Displayed values between the 1st and 99th percentile, 0..255; black where constant."""
    unit_HW = unit_range(frame.image)
    if unit_HW is None:
        return np.zeros(displayed(frame.image, frame.display).shape, np.uint8)
    every_HW = np.ones(frame.image.shape, np.bool_)
    clipped_HW = clip_percentiles(unit_HW.astype(np.float32), every_HW, 1, 99)
    return np.ascontiguousarray(displayed((clipped_HW * 255).astype(np.uint8), frame.display))


def _near(structure_HW: NDArray[np.bool_], frame: Frame) -> tuple[slice, slice]:
    """Displayed rows and columns of the structure and its surroundings; everything where there is none."""
    shown_HW = displayed(structure_HW, frame.display)
    if not shown_HW.any():
        return slice(None), slice(None)
    spans = []
    for axis in (1, 0):
        where = np.flatnonzero(shown_HW.any(axis))
        more = round(MARGIN * (where[-1] - where[0] + 1))
        spans.append(slice(max(int(where[0]) - more, 0), int(where[-1]) + more + 1))
    return spans[0], spans[1]


def _css(colour: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in reversed(colour))
