"""One training: its options, its state, its steps.

Dice plus cross-entropy with deep supervision, AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), linear
warm-up and cosine, an exponential moving average of the weights.
"""

from __future__ import annotations

import copy
import math
import pickle
import time
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from stages.errors import OperatorError
from stages.files import whole_file
from stages.preprocess.options import PreprocessOptions
from stages.segment import checkpoint
from stages.segment.model import AttentionUNet
from training.augment import augment, beside
from training.dataset import Slices
from training.gradients import Gradients, GraphedGradients
from training.options import TrainOptions

WARM_UP = 0.04  # share of the schedule
WHOLE = 0.2  # share of the schedule, at its end, that uses whole fields instead of crops
GRADIENT_NORM = 5.0  # longer gradients are scaled down to this norm
INERT = {"validation", "validation_epochs", "threads", "compile"}  # options that do not change the result
# Options that a resumed training may change; the initial weights are compared by digest.
FREE = {"epochs", "minutes", "init", *INERT}


class ResumeError(OperatorError):
    """A training state is missing, or belongs to other data or options; one sentence."""


class Trainer:
    """The mutable state of one training; saved and restored as a whole, between any two steps.

    Every draw comes from its two generators and none from torch's or NumPy's own, so the state is complete.
    """

    def __init__(self, slices: Slices, options: TrainOptions, device: str, recipe: PreprocessOptions) -> None:
        if slices.x_NCHW.shape[-1] % options.model.stride:
            side, stride = slices.x_NCHW.shape[-1], options.model.stride
            raise OperatorError(f"preprocess.size {side} is not a multiple of the network's stride {stride}")
        self.options, self.device, self.recipe = options, device, recipe
        self.slices = slices.to(device)
        self.init: str | None = None  # digest of the weights file it started from
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            net = AttentionUNet(options.model)
        if options.init is not None:
            self.init = _start_from(net, options.init)
        self.net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub gap
        self.average = copy.deepcopy(self.net)
        self._averaged = _floats(self.average), _floats(self.net)
        on_gpu = device != "cpu"
        self.device_name = torch.cuda.get_device_name() if on_gpu else "cpu"
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), options.learning_rate, weight_decay=options.weight_decay, fused=on_gpu
        )
        self.gradients = (
            GraphedGradients(self.net, compiled=options.compile) if on_gpu else Gradients(self.net)
        )
        self.generator = torch.Generator().manual_seed(options.seed)  # of the order
        self.changes = torch.Generator().manual_seed(options.seed)  # of augmentation and attacks
        self.epoch, self.step, self.seconds, self.loss = 0, 0, 0.0, 0.0
        self.history: list[dict[str, float]] = []  # one entry an epoch, for the curves
        self.order_N = torch.zeros(0, dtype=torch.int64)  # the rows of the pass under way
        self.place = 0  # how many of them have been learned from
        self._losses: list[torch.Tensor] = []  # of the pass under way, one a step

    @torch.no_grad()
    def _follow(self) -> None:
        """One step of the moving average, which forgets faster while it is young."""
        decay = min(self.options.average_decay, (1 + self.step) / (10 + self.step))
        update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        update(*self._averaged, self.step)

    @property
    def fraction(self) -> float:
        """How far the schedule has come, 0..1."""
        options = self.options
        if options.minutes is not None:
            return min(self.seconds / (60 * options.minutes), 1.0)
        return min(self.step / (self.slices.steps(options.batch) * options.epochs), 1.0)

    def run_epoch(self) -> None:
        """Train to the end of the pass, or until the time is over."""
        while not self.advance():
            pass

    def advance(self) -> bool:
        """Take one step; returns whether it ended the pass. Between two steps the state may be saved."""
        before = self.seconds - time.monotonic()
        self.net.train()
        if not len(self.order_N):
            options = self.options
            self.order_N = self.slices.order(options.batch, options.structure_share, self.generator)
        rows_N = self.order_N[self.place : self.place + self.options.batch]
        rate = self.options.learning_rate * schedule(self.fraction)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._losses.append(self._step(*augment(*self.slices.at(rows_N), self.changes, self._side())))
        self.step += 1
        self.place += len(rows_N)
        self.seconds = before + time.monotonic()
        over = self.options.minutes is not None and self.fraction >= 1
        ended = over or self.place == len(self.order_N)
        if ended:
            self._end_pass(before)
        return ended

    def _end_pass(self, before: float) -> None:
        self.epoch += 1
        self.loss = float(torch.stack(self._losses).mean())  # waits for the device
        self.seconds = before + time.monotonic()
        self.history.append({"epoch": self.epoch, "loss": self.loss, "seconds": self.seconds})
        self.order_N, self.place, self._losses = self.order_N[:0], 0, []

    @torch.no_grad()
    def validate(self, slices: Slices) -> float:
        """Record the pooled Dice of the averaged weights on the field: cheaper than the report's figure."""
        net = self.average.eval()
        overlap, total = 0, 0
        size = self.options.batch
        parts = zip(torch.split(slices.x_NCHW, size), torch.split(slices.truth_N1HW, size), strict=True)
        for x_NCHW, truth_N1HW in parts:
            logit_N1HW = net(x_NCHW.to(self.device, memory_format=torch.channels_last)).logit_N1HW
            inside, wanted = logit_N1HW.cpu() > 0, truth_N1HW > 0
            overlap += int((inside & wanted).sum())
            total += int(inside.sum()) + int(wanted.sum())
        dice = 2 * overlap / total if total else 1.0
        self.history[-1]["validation_dice"] = dice
        return dice

    def _side(self) -> int | None:
        """The side of the squares that this step looks at, None for the whole field."""
        return self.options.crop if self.fraction < 1 - WHOLE else None

    def _step(self, x_NCHW: torch.Tensor, truth_N1HW: torch.Tensor) -> torch.Tensor:
        """The loss stays on the device: reading it would make a GPU wait."""
        x = x_NCHW.contiguous(memory_format=torch.channels_last)
        if float(torch.rand((), generator=self.generator)) < self.options.adversarial_share:
            x = self._attacked(x, truth_N1HW)
        loss = self.gradients.of_weights(x, truth_N1HW)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), GRADIENT_NORM)
        self.optimizer.step()
        self._follow()
        return loss.clone()

    def _attacked(self, x_NCHW: torch.Tensor, truth_N1HW: torch.Tensor) -> torch.Tensor:
        """Fast adversarial training (Wong et al. 2020, arXiv:2001.03994): random start, one signed step."""
        step = self.options.adversarial_step
        start = torch.rand(x_NCHW.shape, generator=beside(x_NCHW, self.changes), device=x_NCHW.device)
        changed = x_NCHW + step * (2 * start - 1)
        slope = self.gradients.of_input(changed, truth_N1HW)
        moved = changed + 1.25 * step * slope.sign()
        return torch.clamp(moved, x_NCHW - step, x_NCHW + step)

    def state(self) -> dict[str, Any]:
        """Everything the next step depends on."""
        return {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "changes": self.changes.get_state(),
            "history": self.history,
            "order": self.order_N,
            "place": self.place,
            "losses": self._losses,
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "loss": self.loss,
            "belongs_to": self._belongs_to(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from ``state``. Raises ResumeError if it is of other data or options."""
        if state["belongs_to"] != self._belongs_to():
            raise ResumeError("the saved training used other data or options: train without --resume")
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.changes.set_state(state["changes"])
        self.history = state["history"]
        self.order_N, self.place = state["order"], state["place"]
        self._losses = [loss.to(self.device) for loss in state["losses"]]
        self.epoch, self.step = state["epoch"], state["step"]
        self.seconds, self.loss = state["seconds"], state["loss"]

    def _belongs_to(self) -> dict[str, Any]:
        """The values that a resumed training must share; the length of the schedule may change."""
        kept = {name: value for name, value in asdict(self.options).items() if name not in FREE}
        recipe = repr(asdict(self.recipe))
        return {"data": self.slices.digest, "init": self.init, "options": repr(kept), "recipe": recipe}

    def save(self, path: Path) -> None:
        """Write the state; the file appears whole or not at all."""
        with whole_file(path) as stream:
            torch.save(self.state(), stream)

    def resume(self, path: Path) -> None:
        """Continue from a saved state. Raises ResumeError."""
        if not path.is_file():
            raise ResumeError(f"{path} does not exist: there is no training to resume")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.restore(state)
        except (RuntimeError, OSError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise ResumeError(f"{path} is damaged or foreign: train without --resume") from error


def _floats(net: nn.Module) -> list[torch.Tensor]:
    """Parameters and statistics; not the counters."""
    return [one.detach() for one in chain(net.parameters(), net.buffers()) if one.is_floating_point()]


def _start_from(net: AttentionUNet, weights: Path) -> str:
    """Copy a weights file's network; its digest. Raises WeightsError, also where the shapes differ."""
    segmenter, info = checkpoint.load(weights)
    if info.model != net.config:
        raise checkpoint.WeightsError(f"{weights} holds another network than train.model describes")
    net.load_state_dict(segmenter.net.state_dict())
    return info.digest


def schedule(fraction: float) -> float:
    """The learning rate relative to its top: linear warm-up, then half a cosine to zero."""
    if fraction < WARM_UP:
        return max(fraction / WARM_UP, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (fraction - WARM_UP) / (1 - WARM_UP)))
