"""The network's input, each slice once. Suffixes name the axes as in ``stages/batches.py``; M fields."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Packed(NamedTuple):
    """The network's input, each slice once, although up to three rows see it.

    Row n's channels (previous, self, next) are the fields ``channels_NC[n]``, each as ``field * slope +
    intercept``. A field holds 8-bit levels where contrast is equalised, which has 256 bins, else float32.
    """

    field_MHW: NDArray[np.uint8 | np.float32]
    slope_M: NDArray[np.float32]
    intercept_M: NDArray[np.float32]
    channels_NC: NDArray[np.int64]

    @classmethod
    def of(cls, x_NCHW: NDArray[np.float32]) -> Packed:
        """Of input that is no longer packed: each channel is a field."""
        count, channels = x_NCHW.shape[:2]
        ones_M = np.ones(count * channels, np.float32)
        channels_NC = np.arange(count * channels).reshape(count, channels)
        return cls(x_NCHW.reshape(-1, *x_NCHW.shape[2:]), ones_M, 0 * ones_M, channels_NC)

    @property
    def shape(self) -> tuple[int, ...]:
        """N, C, H, W of ``unpacked``."""
        return (*self.channels_NC.shape, *self.field_MHW.shape[1:])

    def take(self, part: slice) -> Packed:
        """Some of the rows, and the fields that they see."""
        fields, places = np.unique(self.channels_NC[part], return_inverse=True)
        return Packed(
            self.field_MHW[fields],
            self.slope_M[fields],
            self.intercept_M[fields],
            places.reshape(-1, self.channels_NC.shape[1]),
        )

    def unpacked(self) -> NDArray[np.float32]:
        """What the network sees, [N, C, H, W]."""
        x_NCHW = np.empty(self.shape, np.float32)
        for row, fields in enumerate(self.channels_NC):
            for channel, field in enumerate(fields):
                x_HW = x_NCHW[row, channel]
                np.multiply(self.field_MHW[field], self.slope_M[field], out=x_HW)
                x_HW += self.intercept_M[field]
        return x_NCHW
