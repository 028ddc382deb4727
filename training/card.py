"""What a training leaves for people beside the weights: the model card, and its curves."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stages.segment.checkpoint import WeightsInfo

COLUMNS = ("dice_volume", "dice_slices", "hd95_mm", "asd_mm", "volume_ml", "volume_true_ml")
HEADS = ("case", "Dice volume", "Dice slices", "HD95 mm", "ASD mm", "volume ml", "true volume ml")


def text(info: WeightsInfo) -> str:
    """The card in Markdown, after Mitchell et al. 2019 (arXiv:1810.03993), from the weights file alone."""
    training, recipe = info.training, info.recipe
    attention = "with" if info.model.attention else "without"
    start = training["init_digest"]
    origin = f"the weights with SHA-256 `{start}`" if start else "random weights"
    options = "\n".join(f"| {name} | {value} |" for name, value in training["options"].items())
    return f"""# Model card: {info.path.name}

SHA-256 `{info.digest}`.

**Not a medical device.** For research; it must not be used to diagnose or treat.

## Model and input

Residual U-Net {attention} channel attention, stages of {", ".join(map(str, info.model.channels))} channels,
stored in half precision. Input: a slice between its two neighbours, {recipe.size} x {recipe.size} pixels at
{recipe.spacing_mm:g} mm; the full recipe is in the file.

## Training

{training["cases"]} patients, {training["slices"]} slices, data digest `{training["data_digest"]}`;
{training["epochs"]} epochs, {training["seconds"] / 60:.0f} minutes on {training["device"]}, torch
{training["torch"]}, from {origin}; last loss {training["loss"]:.4f}. The last weights are kept: no epoch was
chosen by the figures below.

| option | value |
|---|---|
{options}

## Validation

{_validation(info.metrics)}

## Limits

Measured on the patients above only. On images out of distribution the model still answers, and the answer
means nothing.
"""


def _validation(metrics: dict[str, Any]) -> str:
    if not metrics:
        return "None: no cases were held out."
    rows = [*metrics["cases"], {"name": "mean", **metrics["mean"]}]
    body = "\n".join(f"| {row['name']} | {' | '.join(_cell(row[c]) for c in COLUMNS)} |" for row in rows)
    interval = metrics["interval_95"]["dice_volume"]
    between = f", 95 % interval {interval[0]:.3f} to {interval[1]:.3f} over patients" if interval else ""
    mean, pooled = metrics["mean"]["dice_volume"], metrics["pooled_dice"]
    return (
        f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}\n{body}\n\n"
        f"Mean volume Dice {mean:.3f}{between}; pooled {pooled:.3f}."
    )


def _cell(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def curves_png(history: Sequence[dict[str, float]]) -> bytes:
    """Loss by epoch and, for epochs that measured it, Dice of the held-out cases."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    loss_axes = figure.subplots()
    loss_axes.plot([one["epoch"] for one in history], [one["loss"] for one in history], color="tab:blue")
    loss_axes.set_xlabel("epoch")
    loss_axes.set_ylabel("training loss", color="tab:blue")
    looked = [one for one in history if "validation_dice" in one]
    if looked:
        dice_axes = loss_axes.twinx()
        dice = [one["validation_dice"] for one in looked]
        dice_axes.plot([one["epoch"] for one in looked], dice, color="tab:orange", marker=".")
        dice_axes.set_ylabel("validation Dice, pooled on the field", color="tab:orange")
        dice_axes.set_ylim(0, 1)
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()
