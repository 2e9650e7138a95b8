"""Stochastic gradient descent with momentum, and Adam: an update a batch, epoch after epoch.

Rows are copied batch by batch in the order of `kernels.order`, centred and scaled as `Columns` says, and parameters and
state are of the dtype of X, in the variables of such columns. A batch's gradient is the sum over its rows by their
number, and by the mean weight of a row. The L2 strength is a number a parameter: that of raw W.
"""

import math
import time
from typing import Any, NamedTuple

import numpy as np

from ..engine.cache import attach
from ..engine.pace import SLICE_SECONDS
from ..engine.passes import BatchPasses
from ..engine.run import DIVERGED, RUNNING, STOPPED_GAINING, Judge, Run
from ..kernels import reference
from ..kernels.order import shuffle
from ..kernels.steps import POWER_1, RATE, close_update, set_rate
from ..kernels.updates import ADAM, MOMENTUM_DESCENT, NESTEROV, STEP_SIZE, Update
from .columns import Columns
from .problem import Problem, finite

SHUFFLED_AT_ONCE = 1 << 22  # rows, between two looks at signals: 20 to 50 ms
DROP = 5.0  # what an adaptive step size is divided by, and where that ends, as scikit-learn has it
LEAST_RATE = 1e-6

_shuffle, _set_rate, _close_update = (attach(function) for function in (shuffle, set_rate, close_update))


class Rule(NamedTuple):
    """What is done with a batch's gradient. reference: its twin."""

    update: Update
    settings: tuple[float, ...]
    reference: Any


def adam(beta_1: float, beta_2: float, epsilon: float) -> Rule:
    return Rule(ADAM, (0.0, 0.0, beta_1, beta_2, 1.0 - beta_1, 1.0 - beta_2, epsilon), reference.adam)


def momentum_descent(momentum: float, nesterov: bool) -> Rule:
    rule = NESTEROV if nesterov else MOMENTUM_DESCENT
    return Rule(rule, (0.0, 0.0, momentum), reference.nesterov if nesterov else reference.momentum)


class Schedule(NamedTuple):
    """The step size: constant, or falling linearly to zero at the end of the last of `epochs`, or 1 / sqrt(epoch)
    ("invscaling"), or divided by DROP whenever the loss no longer gains ("adaptive")."""

    kind: str
    rate: float
    epochs: int


class Stochastic(Run):
    """Epochs of batches. losses: the mean over an epoch's batches, each before its update, and the L2 term at its end.

    tol: the run is over, or its step size falls, once `patience` epochs in a row have not lowered the loss by at least
    so much; None: never.
    """

    unit = "epoch"

    def __init__(
        self,
        problem: Problem,
        rule: Rule,
        schedule: Schedule,
        *,
        batch_size: int,
        seed: int,
        shuffled: bool = True,
        tol: float | None = None,
        patience: int = 10,
        judge: Judge | None = None,
    ) -> None:
        X, y = problem.in_memory()
        super().__init__(problem.model, X.dtype, judge)
        self._problem, self._rule, self._schedule, self._seed = problem, rule, schedule, seed
        self.tol, self.patience, self._shuffled = tol, patience, shuffled
        self._columns = Columns(problem)
        self.n_passes = self._columns.n_passes
        self._rows = np.arange(len(X), dtype=np.uint32)
        if problem.held is not None:
            self._rows = np.delete(self._rows, problem.held)
        self._order = self._rows.copy()
        weights = problem.sample_weight
        total = float(len(self._rows)) if weights is None else float(weights[self._rows].sum(dtype=np.float64))
        self._total, self._batch_size = total, batch_size
        self.n_batches = -(-len(self._rows) // batch_size)
        self._layout = layout = self.model.batch_layout(X.itemsize)
        decay = float(schedule.epochs * self.n_batches) if schedule.kind == "linear" else 0.0
        self._passes = BatchPasses(
            self.model, X, y, weights, rule.update, rule.settings, order=self._order,
            affine=self._columns.affine.astype(X.dtype), batch_size=batch_size, mean_weight=total / len(self._rows),
            numbers=(schedule.rate, decay, *rule.settings[2:4], 0.0)[:4],  # of momentum there are no powers
            n_threads=1 if problem.is_reference else problem.n_threads, steps=schedule.epochs * self.n_batches,
        )  # fmt: skip
        self.n_threads, self._memory = self._passes.n_threads, self._passes.memory
        self._numbers = self._memory.numbers[0]
        self._memory.theta[0] = layout.flatten(self._columns.start(problem))
        strength = [np.zeros(shape) if len(shape) == 1 else np.full(shape, problem.reg) for shape in self.model.shapes]
        strength[0] *= (self._columns.scale**2)[:, np.newaxis]
        self._strength = self._memory.state[0, -layout.size :] = layout.flatten(strength)
        self.n_updates, self._taken, self._slice_from = 0, 0, 0
        self._epoch_losses = np.empty(self.n_batches)
        self._first_epoch = 0  # in the order of rows: epochs of runs before
        if problem.carried is not None:
            self._memory.state[0, : -layout.size] = problem.carried["state"]
            self._numbers[POWER_1:] = problem.carried["powers"]
            self._first_epoch, self._seed = map(int, problem.carried["order"])
        self._set_rate()
        self._ordered = -1  # the epoch that the order is of
        self._lowest, self._since = math.inf, 0
        self._good = self._memory.theta.copy(), self._memory.state.copy()

    @property
    def position(self) -> float:
        return self.n_updates

    @property
    def batch(self) -> int:
        """Batches done of the epoch under way."""
        return self.n_updates - self.n_steps * self.n_batches

    @property
    def loss(self) -> float:
        """Of the last epoch; of the batches so far while there is none."""
        if self.n_steps or not self.batch:
            return super().loss
        done = min(self.batch * self._batch_size, len(self._rows))
        return math.fsum(self._epoch_losses[: self.batch]) / (self._total * done / len(self._rows)) + self._penalty()

    def _penalty(self) -> float:
        with np.errstate(over="ignore"):
            return 0.5 * float((self._strength * np.square(self._memory.theta[0], dtype=np.float64)).sum())

    def carried(self) -> dict[str, np.ndarray]:
        """What the rule remembers, and the columns that it is of."""
        order = np.array([self._first_epoch + self.n_steps, self._seed])
        state, powers = self._memory.state[0, : -self._layout.size].copy(), self._numbers[POWER_1:].copy()
        return {"affine": self._columns.affine, "state": state, "powers": powers, "order": order}

    def is_converged(self) -> bool:
        return self.status == STOPPED_GAINING

    def _params(self, dtype: Any) -> tuple[np.ndarray, ...]:
        return self._raw(self._memory.theta[0], dtype)

    def _raw(self, theta: np.ndarray, dtype: Any) -> tuple[np.ndarray, ...]:
        return tuple(p.astype(dtype) for p in self._columns.leave(self._layout.unflatten(theta, np.float64)))

    def _state(self) -> dict[str, np.ndarray]:
        memory, good = self._memory, self._good
        return {
            "theta": memory.theta[0].astype(np.float64), "state": memory.state[0].astype(np.float64),
            "good_theta": good[0][0].astype(np.float64), "good_state": good[1][0].astype(np.float64),
            "numbers": self._numbers.copy(), "batch_losses": self._epoch_losses[: self.batch].copy(),
            "gain": np.array([self._lowest, self._since, self.n_updates, self._seed], np.float64),
        }  # fmt: skip

    def growing(self) -> set[str]:
        return {*super().growing(), "batch_losses"}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        memory, batch_losses = self._memory, arrays["batch_losses"]
        if not finite([arrays["theta"], arrays["state"]]) or len(batch_losses) >= max(self.n_batches, 1):
            raise ValueError("its parameters are not finite")
        memory.theta[0], memory.state[0] = arrays["theta"], arrays["state"]
        self._good[0][0], self._good[1][0] = arrays["good_theta"], arrays["good_state"]
        self._lowest, self._since = float(arrays["gain"][0]), int(arrays["gain"][1])
        self.n_updates = self._taken = int(arrays["gain"][2])
        self._seed = int(arrays["gain"][3])
        if self.batch != len(batch_losses):
            raise ValueError("it does not say at which batch it is")
        self._epoch_losses[: self.batch] = batch_losses
        self._numbers[:] = arrays["numbers"]
        self._set_rate()

    def _set_rate(self) -> None:
        _set_rate(self._memory.numbers, self.n_updates, self._memory.settings)

    # ------------------------------------------------------------------------------------------- slices

    def _open(self) -> None:
        if self._ordered != self.n_steps:
            self._put_in_order(self.n_steps)
        if self.batch == 0:
            for good, now in zip(self._good, (self._memory.theta, self._memory.state), strict=True):
                good[:] = now
        self._memory.status[:] = self.n_updates, RUNNING
        self._slice_from = self._taken = self.n_updates

    def _put_in_order(self, epoch: int) -> None:
        self._ordered = -1
        self._order[:] = self._rows
        if self._shuffled:
            n = len(self._order)
            for first in range(0, n, SHUFFLED_AT_ONCE):
                last = min(first + SHUFFLED_AT_ONCE, n)
                _shuffle(self._order, self._seed, self._first_epoch + epoch, first, last)
        self._ordered = epoch

    def _advance(self, most: int) -> None:
        left = self.n_batches - self.batch
        if self._problem.is_reference:
            self._advance_reference(left)
        else:
            self._passes.run_at_pace(left)

    def _close(self) -> None:
        done, status = map(int, self._memory.status)
        at = self._taken - self.n_steps * self.n_batches
        self._epoch_losses[at : at + done - self._taken] = self._memory.losses[
            self._taken - self._slice_from : done - self._slice_from
        ]
        self._taken = self.n_updates = done
        if status == DIVERGED or not np.isfinite(self._memory.theta).all():
            self._take_back()
        elif self.batch == self.n_batches:
            self._close_epoch()
        self.n_passes = self._columns.n_passes + self.n_updates / self.n_batches

    def _take_back(self) -> None:
        """To the start of the epoch, or of the first whose loss is finite."""
        self.diverged_at = f"epoch {self.n_steps}, batch {min(self.batch, self.n_batches - 1)}"
        self.status = DIVERGED
        for good, now in zip(self._good, (self._memory.theta, self._memory.state), strict=True):
            now[:] = good
        self.n_updates = self._taken = self.n_steps * self.n_batches

    def _close_epoch(self) -> None:
        loss = math.fsum(self._epoch_losses) / self._total + self._penalty()
        if not math.isfinite(loss):  # squares of weights overflow before weights do
            self._take_back()
            return
        self._record(self.n_steps, np.array([loss]))
        since = 0 if self.tol is None or loss <= self._lowest - self.tol else self._since + 1
        self._lowest, self._since, self.n_steps = min(loss, self._lowest), since, self.n_steps + 1
        self._check_gain()
        if self._schedule.kind == "invscaling":
            self._numbers[RATE] = self._schedule.rate / math.sqrt(self.n_steps + 1)
            self._set_rate()

    def _check_gain(self) -> None:
        """What comes after too many epochs without a gain."""
        if self.tol is None or self._since < self.patience:
            return
        if self._schedule.kind != "adaptive" or self._numbers[RATE] <= LEAST_RATE:
            self.status = STOPPED_GAINING
        else:
            self._numbers[RATE] /= DROP
            self._since = 0
            self._set_rate()

    def _advance_reference(self, batches: int) -> None:
        """The same over NumPy's sums and its twin of the rule."""
        memory, problem, deadline = self._memory, self._problem, time.perf_counter() + SLICE_SECONDS
        layout, P = self._layout, self._layout.size
        mean, scale = self._columns.affine.astype(self.dtype)
        for _ in range(min(batches, len(memory.losses))):
            step = int(memory.status[0])
            at = (step - self.n_steps * self.n_batches) * self._batch_size
            rows = self._order[at : at + self._batch_size]
            params = layout.unflatten(memory.theta[0], self.dtype)
            gradients = tuple(np.empty_like(p) for p in params)
            weights = None if problem.sample_weight is None else problem.sample_weight[rows]
            total = float(len(rows)) if weights is None else float(weights.sum(dtype=np.float64))
            share = total / (len(rows) * self._total / len(self._rows))
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                loss = 0.0
                if total > 0.0:
                    X, y = problem.in_memory()
                    X = (X[rows] - mean) * scale
                    loss = problem.model.reference.loss_gradients(X, y[rows], *params, 0.0, *gradients, weights)
                gradient = layout.flatten(gradients) * (share if total > 0.0 else 0.0)
            memory.losses[step - self._slice_from] = loss * total
            if not np.isfinite(loss):
                memory.status[1] = DIVERGED
                return
            theta, state, strength = memory.theta[0], memory.state[0, :-P], memory.state[0, -P:]
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                self._rule.reference(theta, gradient + strength * theta, state, memory.settings[0, STEP_SIZE:])
            memory.status[0] = step + 1
            _close_update(step, memory.numbers, memory.settings)
            if time.perf_counter() > deadline:
                return
