"""A clock that stands still while a judge looks: after each epoch or iteration of a training, how good is it now?"""

import time
from typing import NamedTuple

import numpy as np

BLOCK = 50_000  # rows whose scores are held at once


class Lap(NamedTuple):
    """What a training had reached after so many seconds; NaN where it was not judged by that."""

    seconds: float
    accuracy: float
    objective: float


class Judge:
    """Accuracy on rows that nobody trains with and the objective on those that all do, by one NumPy formula for all.

    A model is its parameters, (W, b) or (W, b, W2, b2) with a column a class, or a function from rows to classes,
    which has no objective.
    """

    def __init__(self, X, y, X_test, y_test, reg=None):
        self.X, self.y, self.X_test, self.y_test, self.reg = X, y, X_test, y_test, reg

    def accuracy(self, model):
        if callable(model):
            return float(np.mean(model(self.X_test) == self.y_test))
        params = [np.asarray(p, np.float64) for p in model]
        right = [scores(X, params).argmax(axis=1) == y for X, y in _blocks(self.X_test, self.y_test)]
        return float(np.mean(np.concatenate(right)))

    def objective(self, model):
        """Mean cross-entropy and reg/2 (|W|^2 + |W2|^2)."""
        if callable(model) or self.reg is None:
            return np.nan
        params = [np.asarray(p, np.float64) for p in model]
        total = 0.0
        for X, y in _blocks(self.X, self.y):
            f = scores(X, params)
            f -= f.max(axis=1, keepdims=True)
            total += np.log(np.exp(f).sum(axis=1)).sum() - f[np.arange(len(y)), y].sum()
        return float(total / len(self.y) + 0.5 * self.reg * sum(np.vdot(W, W) for W in params[::2]))


def scores(X, params):
    *hidden, W, b = params
    if hidden:
        X = np.maximum(X @ hidden[0] + hidden[1], 0)
    return X @ W + b


def _blocks(X, y):
    return ((X[i : i + BLOCK], y[i : i + BLOCK]) for i in range(0, len(y), BLOCK))


class Clock:
    """Seconds of a training without those of its judge: `go`, then `lap` after each epoch or iteration.

    by: what is judged at every lap, of "accuracy" and "objective". until: a function of the laps so far that ends the
    training when it says so. cap: seconds that end it, too. sparse: laps closer than this factor in seconds to the
    last one judged are passed over, where the judge takes longer than the training.
    """

    def __init__(self, judge, by=("accuracy",), cap=np.inf, until=None, sparse=1.0, now=time.perf_counter):
        self.judge, self.by, self.cap, self.until, self.sparse, self.now = judge, by, cap, until, sparse, now
        self.laps, self.n_laps, self.seconds, self.cpu, self.capped = [], 0, 0.0, 0.0, False

    def go(self):
        self._started, self._started_cpu = self.now(), time.process_time()

    def running(self):
        """Seconds so far, while it goes."""
        return self.seconds + self.now() - self._started

    def stop(self):
        """Stop, as at the end of a fit, for good or until `go`."""
        self.seconds = self.running()
        self.cpu += time.process_time() - self._started_cpu

    def lap(self, model):
        """Judge the model as it is now; True when that was enough and the training should end."""
        self.stop()
        self.n_laps += 1
        self.capped = self.seconds >= self.cap
        over = self.capped
        if over or not self.laps or self.seconds >= self.sparse * self.laps[-1].seconds:
            self.note(self.seconds, model)
            over = over or (self.until is not None and self.until(self.laps))
        self.go()
        return over

    def note(self, seconds, model):
        """Judge a model of that many seconds; it is the `model` of the clock until the next one."""
        self.model = model
        accuracy = self.judge.accuracy(model) if "accuracy" in self.by else np.nan
        objective = self.judge.objective(model) if "objective" in self.by else np.nan
        self.laps.append(Lap(seconds, accuracy, objective))


def first_reached(laps, by, target):
    """Seconds of the first lap that is as good as the target, None if none is, or no target is known.

    by: "accuracy" or "objective".
    """
    if target is None:
        return None
    sign = 1 if by == "accuracy" else -1
    return next((lap.seconds for lap in laps if sign * getattr(lap, by) >= sign * target), None)


def thinned(laps, ratio=1.15):
    """Of many laps those that a curve over log seconds needs: the first, the last, and some every so many times."""
    kept = []
    for i, lap in enumerate(laps):
        if not kept or lap.seconds >= ratio * kept[-1].seconds or i == len(laps) - 1:
            kept.append(lap)
    return kept
