"""The diagnosis of a fit from its curves: overfitting, healthy or underfitting, as one :class:`Verdict`."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import binom

from cnnclf._utils.text import percent, points

RISE, RISE_LOSS = 0.2, 0.02  # of the validation loss above its lowest, as a share of it and in itself
FALL, FALL_LOSS = 0.1, 0.05  # of a loss below its lowest so far, in the last epoch
GAP, CLEAR = 0.05, 0.05  # between training and validation accuracy; and how probable a larger one may be by chance
LOW = 0.9  # training accuracy

RULE = (
    "The validation loss has turned if, over the second half of the epochs since its lowest (two or more), it stays at "
    f"least {100 * RISE:g} % and at least {RISE_LOSS:g} above that lowest, and higher than any rise from which it "
    "recovered before. "
    f"Overfitting: it has turned while the training loss kept falling (or is below {RISE_LOSS:g}); or the training "
    f"accuracy is clearly more than {100 * GAP:g} points above the validation accuracy (with a gap of "
    f"exactly {100 * GAP:g} points, less than {100 * CLEAR:g} % of samples would have so few correct validation "
    "images). "
    f"Underfitting: the training accuracy is below {100 * LOW:g} %; or both losses still fell in the last epoch by at "
    f"least {100 * FALL:g} % and at least {FALL_LOSS:g} to a new lowest; or the validation loss has turned and the "
    "training loss rose with it. "
    "A gap with a sign of underfitting is overfitting if it is at least as large as the share of misclassified "
    "training images. Healthy: none of these. Without validation images: unknown."
)


@dataclass(frozen=True)
class Verdict:
    """The diagnosis of the curves of a fit, by :data:`RULE`.

    Attributes
    ----------
    kind : {"overfitting", "healthy", "underfitting", "unknown"}
        "unknown" without validation data; the numbers are None then.
    epoch : int
        The last epoch.
    best_epoch : int or None
        The first epoch with the lowest validation loss.
    turned_at : int or None
        The epoch after which the validation loss rose permanently, if it did.
    gap : float or None
        Training accuracy less validation accuracy after the last epoch, -1..1.
    rise : float or None
        How far the validation loss ended above its lowest, as a share of it, or of 0.02 if it is lower than that.
    reason : str
        The verdict in words, with the numbers and what to do.
    """

    kind: str
    epoch: int
    best_epoch: int | None
    turned_at: int | None
    gap: float | None
    rise: float | None
    reason: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"

    def _repr_html_(self) -> str:
        return f"<p><b>{self.kind}</b>: {html.escape(self.reason)}</p>"


@dataclass(frozen=True)
class Curves:
    """The epochs that have validation figures, one number per epoch in each row.

    ``train_images`` is the number of training images on which the last epoch was measured; None for all.
    ``valid_images`` is that of validation images; None where it is not known, and then taken for large.
    """

    epoch: tuple[int, ...]
    train_loss: tuple[float, ...]
    train_accuracy: tuple[float, ...]
    valid_loss: tuple[float, ...]
    valid_accuracy: tuple[float, ...]
    train_images: int | None = None
    valid_images: int | None = None

    @property
    def best(self) -> int:
        """The first position of the lowest validation loss."""
        return self.valid_loss.index(min(self.valid_loss))

    @property
    def gap(self) -> float:
        """The final training accuracy less the final validation accuracy."""
        # Rounded, because 1 - 0.95 is above 0.05 in floating point.
        return round(self.train_accuracy[-1] - self.valid_accuracy[-1], 12)

    @property
    def is_apart(self) -> bool:
        """Whether the gap is larger than `GAP`, and not just by chance."""
        if self.gap <= GAP or self.valid_images is None:
            return self.gap > GAP
        right = round(self.valid_accuracy[-1] * self.valid_images)
        return bool(binom.cdf(right, self.valid_images, self.train_accuracy[-1] - GAP) < CLEAR)


def diagnose(history: Sequence[Mapping[str, Any]]) -> Verdict:
    """Diagnose a fit as overfitting, healthy or underfitting by :data:`RULE`.

    The diagnosis is of the curves, not of the weights that were kept: early stopping restores the weights of the best
    epoch, and the epochs after it can still be overfitting.

    Parameters
    ----------
    history : sequence of dict
        One per epoch, with ``epoch``, ``train_loss``, ``train_accuracy`` and, where there was validation data,
        ``valid_loss`` and ``valid_accuracy``: ``clf.history_``. Training figures must come from evaluation mode, as
        they do there, or dropout and augmentation hide the gap. Epochs without validation are skipped.

    Returns
    -------
    Verdict
        The verdict, its numbers, and its reason in words.

    Raises
    ------
    ValueError
        If there is no epoch, or a figure is missing or not finite.

    References
    ----------
    Goodfellow, Bengio, Courville 2016, "Deep Learning", section 5.2, for what over- and underfitting are; Prechelt
    1998, "Early stopping - but when?", section 2, whose generalisation loss is the rise.

    Examples
    --------
    >>> from cnnclf.evaluation import diagnose
    >>> epoch = {"epoch": 1, "train_loss": 0.04, "train_accuracy": 1.0, "valid_loss": 0.35, "valid_accuracy": 0.9}
    >>> verdict = diagnose([epoch])
    >>> verdict.kind, verdict.gap
    ('overfitting', 0.1)
    """
    curves = read_curves(history)
    if curves is None:
        return Verdict("unknown", int(history[-1]["epoch"]), None, None, None, None, NO_VALIDATION)
    kind, reason = classify(curves)
    last, best = curves.epoch[-1], curves.epoch[curves.best]
    turned_at = best if has_turned(curves.valid_loss) else None
    return Verdict(kind, last, best, turned_at, curves.gap, rise(curves.valid_loss[-1], min(curves.valid_loss)), reason)


def read_curves(history: Sequence[Mapping[str, Any]]) -> Curves | None:
    """Return the epochs that have validation figures; None if there are none."""
    if not history:
        raise ValueError("Expected a history of one or more epochs; got none. Pass the history_ of a fit.")
    validated = [row for row in history if "valid_loss" in row]
    names = ["epoch", "train_loss", "train_accuracy", *(["valid_loss", "valid_accuracy"] if validated else [])]
    for position, row in enumerate(validated or history, start=1):
        for name in names:
            if name not in row:
                raise ValueError(
                    f"Expected {', '.join(names)} for every epoch; got no {name} in row {position}. "
                    "Pass the history_ of a fit."
                )
            if not math.isfinite(row[name]):
                raise ValueError(
                    f"Expected finite numbers; got {name} {row[name]} in epoch {row['epoch']}. "
                    "Training diverged there, so lower the learning rate and fit again."
                )
    if not validated:
        return None
    columns: dict[str, Any] = {
        name: tuple(map(int if name == "epoch" else float, (row[name] for row in validated))) for name in names
    }
    last = validated[-1]
    return Curves(**columns, train_images=last.get("train_images"), valid_images=last.get("valid_images"))


def rise(loss: float, lowest: float) -> float:
    """Return (loss - lowest) / lowest; a lowest below RISE_LOSS counts as RISE_LOSS, so that the share stays finite."""
    return (loss - lowest) / max(lowest, RISE_LOSS)


def has_turned(valid_loss: Sequence[float]) -> bool:
    """Return whether the validation loss rose permanently after its lowest."""
    lowest = min(valid_loss)
    best = valid_loss.index(lowest)
    n_after = len(valid_loss) - 1 - best
    stays = min(valid_loss[-max(2, math.ceil(n_after / 2)) :])  # the lowest itself, where one epoch or none came after
    came_back_from = max((rise(valid_loss[i], min(valid_loss[:i])) for i in range(1, best)), default=0.0)
    return stays - lowest >= RISE_LOSS and rise(stays, lowest) >= max(RISE, came_back_from)


def is_falling(loss: Sequence[float]) -> bool:
    """Return whether a loss fell clearly to a new lowest in the last epoch."""
    if len(loss) < 2:
        return False
    lowest = min(loss[:-1])
    return lowest - loss[-1] >= max(FALL * lowest, FALL_LOSS)


def classify(curves: Curves) -> tuple[str, str]:
    """Return the kind of the verdict and the reason for it."""
    turned = has_turned(curves.valid_loss)
    train_fell = curves.train_loss[-1] < max(curves.train_loss[curves.best], RISE_LOSS)
    if turned and train_fell:
        return "overfitting", f"{describe_turn(curves)}; {describe_gap(curves)}. {MEMORISES}, {keep(curves)}."
    low = curves.train_accuracy[-1] < LOW
    falling = is_falling(curves.train_loss) and is_falling(curves.valid_loss)
    if curves.is_apart and (curves.gap >= 1 - curves.train_accuracy[-1] or not (turned or low or falling)):
        return "overfitting", f"After epoch {curves.epoch[-1]} {describe_gap(curves)}. {MEMORISES}."
    if turned:
        return "underfitting", f"{describe_turn(curves)}; {describe_gap(curves)}. {WORSE}, {keep(curves)}."
    if low:
        return "underfitting", f"After epoch {curves.epoch[-1]} {describe_gap(curves)}. {NOT_LEARNT}."
    if falling:
        return "underfitting", f"{describe_fall(curves)}; {describe_gap(curves)}. {UNFINISHED}."
    return "healthy", f"After epoch {curves.epoch[-1]} {describe_gap(curves)}. {describe_level(curves)}."


NO_VALIDATION = (
    "Without validation images, overfitting cannot be detected. "
    "Fit with X_val and y_val, or with early_stopping=True, which holds some images out."
)
MEMORISES = "It memorises its images: more images, augmentation, weight decay or dropout help"
WORSE = "It has become worse: a lower learning rate helps"
NOT_LEARNT = (
    "It has not learnt its training images: more epochs, a larger network or a higher learning rate help, "
    "or a lower one if the losses jump up and down"
)
UNFINISHED = "It has not finished learning: more epochs or a higher learning rate help"


def describe_turn(curves: Curves) -> str:
    """Describe when the validation loss turned, by how much it rose, and what the training loss did meanwhile."""
    lowest, end = min(curves.valid_loss), curves.valid_loss[-1]
    before, after = curves.train_loss[curves.best], curves.train_loss[-1]
    return (
        f"The validation loss was lowest after epoch {curves.epoch[curves.best]}, at {lowest:.3g}, and rose by "
        f"{end - lowest:.3g} to {end:.3g} until epoch {curves.epoch[-1]}, while the training loss "
        f"{'fell' if after < before else 'rose'} from {before:.3g} to {after:.3g}"
    )


def describe_fall(curves: Curves) -> str:
    """Describe how far both losses fell in the last epoch."""
    train, valid = curves.train_loss, curves.valid_loss
    return (
        f"In epoch {curves.epoch[-1]} both losses were still falling, the training loss from {train[-2]:.3g} to "
        f"{train[-1]:.3g} and the validation loss from {valid[-2]:.3g} to {valid[-1]:.3g}"
    )


def describe_gap(curves: Curves) -> str:
    """Describe how often the network is right in the end."""
    some = "" if curves.train_images is None else f"{curves.train_images:,} of "
    return (
        f"the network is right on {percent(curves.train_accuracy[-1])} of {some}the training images and on "
        f"{percent(curves.valid_accuracy[-1])} of the validation images, "
        + (f"a gap of {points(curves.gap)}" if curves.gap > 0 else "without a gap")
    )


def describe_level(curves: Curves) -> str:
    """Describe a validation loss without a sign of over- or underfitting."""
    end = curves.valid_loss[-1]
    if len(curves.epoch) == 1:
        return f"The validation loss is {end:.3g}; one epoch shows no trend, so train for more epochs"
    if end == min(curves.valid_loss):
        return f"The validation loss was lowest at the end, at {end:.3g}: nothing needs to change"
    return (
        f"The validation loss ended at {end:.3g} after a lowest of {min(curves.valid_loss):.3g} in epoch "
        f"{curves.epoch[curves.best]}, and has not risen permanently: nothing needs to change"
    )


def keep(curves: Curves) -> str:
    """Describe which epoch early stopping keeps."""
    return f"and early stopping keeps the network of epoch {curves.epoch[curves.best]}"
