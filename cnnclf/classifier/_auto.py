"""What ``fit`` chooses for the parameters that are "auto": architecture, epochs, augmentation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from cnnclf._utils.text import percent, quote
from cnnclf.architectures._layers import ArchitectureFunction, ImageShape
from cnnclf.architectures._network import build_module
from cnnclf.classifier._parameters import is_exactly
from cnnclf.images._spec import SMALLEST_SIDE
from cnnclf.training._augmentation import shift
from cnnclf.training._data import Rows, choose_batch_size, measure, split_rows
from cnnclf.training._net import Net
from cnnclf.training._recognition import hash_rows
from cnnclf.training._runtime import choose_device, session

GENERAL = "general"

# Epochs: so many visits of an image, within these numbers of epochs; few rows get fewer visits in more epochs.
VISITS, FEWEST_EPOCHS, MOST_EPOCHS = 200_000, 4, 30
VISITS_OF_FEW, MOST_EPOCHS_OF_FEW = 3_000, 200

# Epochs from which on a change pays: a network that sees each image less often does not memorise it, and changed images
# only cost it accuracy. Mirror images cost least. Below six epochs they are tried only on so many rows or more, as the
# probe would take longer than a short training of few.
PAYS_FROM = {"flip": 4, "shift": 6}
MANY_ROWS = 25_000

# The probe: rows that are looked at, the share of them that is held out, and images that its network is trained on.
PROBE_ROWS, HELD_OUT, PROBE_VISITS = 8_000, 0.2, 5_000
IMAGES_AT_ONCE = 500
CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"flip": lambda x: x.flip(3), "shift": shift}

# A change is not used if it is clear that fewer of the images, or of those of a class, are recognised than these shares
# of what is expected: by chance it would be seen in less than one of twenty samples.
KEPT_OF_ALL, KEPT_OF_CLASS, CLEAR = 0.85, 0.5, 0.05
# Mirror images need evidence: images that are expected to be recognised, and images of each class, of which five that
# are all unrecognised are clear.
FEWEST_RECOGNISED, FEWEST_OF_CLASS = 30, 5
PRIOR = 5  # held-out images of the share of all classes that are added to those of each class


@dataclass(frozen=True)
class AugmentProbe:
    """How well a briefly trained network recognises held-out images, and images that are mirrored or shifted.

    Attributes
    ----------
    n_images : int
        Held-out images.
    recognised : float
        Share of them that was recognised as they are.
    n_changed : int
        Images that were changed: all that the probe looked at, as a changed one is new, too.
    kept : mapping of str to float
        By change, the share of changed images that was recognised, divided by the share that was expected; at most 1.
    kept_of_worst_class : mapping of str to float
        The same in the class that speaks most clearly against the change.
    n_unknown : int
        Classes with fewer than five images; then no mirror images are used.
    tolerated : tuple of str
        The changes that may be used.
    """

    n_images: int
    recognised: float
    n_changed: int
    kept: Mapping[str, float]
    kept_of_worst_class: Mapping[str, float]
    n_unknown: int
    tolerated: tuple[str, ...]

    def to_text(self) -> str:
        r"""Return the figures in a sentence.

        Examples
        --------
        >>> shares = {"flip": 0.42, "shift": 0.99}, {"flip": 0.0, "shift": 0.95}
        >>> probe = AugmentProbe(200, 0.97, 1000, *shares, 0, ("shift",))
        >>> print(*probe.to_text().split("; "), sep="\n")
        A short training recognised 97.0 % of 200 held-out images
        mirrored, 1,000 images were recognised 42.0 % as often (0.0 % in the worst class), and shifted 99.0 % (95.0 %).
        """
        kept, worst = (
            {name: percent(share, 1) for name, share in shares.items()}
            for shares in (self.kept, self.kept_of_worst_class)
        )
        few = f" Classes with fewer than {FEWEST_OF_CLASS} images: {self.n_unknown}, so none is mirrored."
        return (
            f"A short training recognised {percent(self.recognised, 1)} of {self.n_images:,} held-out images; "
            f"mirrored, {self.n_changed:,} images were recognised {kept['flip']} as often ({worst['flip']} in the "
            f"worst class), and shifted {kept['shift']} ({worst['shift']}).{few if self.n_unknown else ''}"
        )

    @classmethod
    def from_json(cls, fields: Any) -> "AugmentProbe":
        """Read what ``dataclasses.asdict`` gave; ValueError for anything else."""
        match fields:
            case {
                "n_images": int(n_images),
                "recognised": float(recognised),
                "n_changed": int(n_changed),
                "kept": dict(kept),
                "kept_of_worst_class": dict(worst),
                "n_unknown": int(n_unknown),
                "tolerated": [*tolerated],
                **others,
            } if not others and kept.keys() == worst.keys() == CHANGES.keys():
                shares = (recognised, *kept.values(), *worst.values())
                are_shares = all(type(share) is float and 0 <= share <= 1 for share in shares)
                are_changes = all(isinstance(name, str) and name in CHANGES for name in tolerated)
                if are_shares and are_changes and min(n_images, n_changed) > 0 <= n_unknown:
                    return cls(n_images, recognised, n_changed, kept, worst, n_unknown, tuple(tolerated))
        raise ValueError(f"Expected the figures of a probe; got {quote(fields)}. Save the model again.")


def is_auto(value: object) -> bool:
    """Check whether a parameter is left to ``fit``."""
    return is_exactly(value, "auto")


def resolve_architecture(architecture: str | ArchitectureFunction) -> str | ArchitectureFunction:
    """Return the architecture of a fit; "auto" is one for images of every shape, so that all folds have one network."""
    return GENERAL if is_auto(architecture) else architecture


def resolve_epochs(max_epochs: int | str, n_visits: int) -> int:
    """Return the number of epochs of a fit.

    Parameters
    ----------
    max_epochs : int or "auto"
        The parameter.
    n_visits : int
        Rows that an epoch visits, after whole-number weights have become repetitions.

    Returns
    -------
    int

    Examples
    --------
    >>> [resolve_epochs("auto", n) for n in (60_000, 50_000, 10_000, 1_000, 100, 10)]
    [4, 4, 20, 30, 30, 200]
    >>> resolve_epochs(12, 60_000)
    12
    """
    if not isinstance(max_epochs, str):
        return int(max_epochs)
    most = np.clip(VISITS_OF_FEW / n_visits, MOST_EPOCHS, MOST_EPOCHS_OF_FEW)
    return round(float(np.clip(VISITS / n_visits, FEWEST_EPOCHS, most)))


def needs_probe(augment: Any, epochs: int, n_visits: int, image_shape: ImageShape) -> bool:
    """Check whether the probe decides the augmentation of a fit of so many epochs with so many visits each."""
    fewest = PAYS_FROM["flip" if n_visits >= MANY_ROWS else "shift"]
    return is_auto(augment) and epochs >= fewest and min(image_shape[1:]) >= SMALLEST_SIDE


def probe_augmentation(clf: Any, rows: Rows) -> AugmentProbe | None:
    """Train a network briefly on a part of the training images, and find out which changes the other part tolerates.

    The result depends on the seed, the images and their weights, not on the order of rows, the architecture or the
    parameters of its training.

    Parameters
    ----------
    clf : CNNClassifier
        Its data is checked, its seed is drawn.
    rows : Rows
        The images to learn from, in the order of their hashes, so that the first ones are a sample.

    Returns
    -------
    AugmentProbe or None
        None where there are too few different rows to hold out 30 of them.
    """
    pixels, labels = rows.X.numpy(), rows.y.numpy()
    try:
        learnt, held_out = split_rows(rows.order[:PROBE_ROWS].numpy(), pixels, labels, HELD_OUT, clf.seed_)
    except ValueError:  # all rows are equal, or the only ones of their class
        return None
    # Equal rows are next to each other. Row numbers would depend on the order of the data.
    hashes = hash_rows(pixels[held_out])
    held_out = held_out[np.append(True, hashes[1:] != hashes[:-1])]
    if len(held_out) < FEWEST_RECOGNISED:
        return None
    device = choose_device(clf.device)
    part = Rows(rows.X, rows.y, torch.from_numpy(np.tile(learnt, max(1, PROBE_VISITS // len(learnt)))), rows.weight)
    with session("cpu", (clf.seed_, 0, 0)):
        standardise = measure(part, one_unit=clf.input_spec_.white is not None)
        module = build_module(GENERAL, clf.input_spec_.image_shape, len(clf.classes_), standardise)
    net = Net(
        module,
        n_classes=len(clf.classes_),
        batch_size=choose_batch_size("auto", len(part.order)),
        lr=0.01,
        optimizer="adamw",
        weight_decay=0.01,
        label_smoothing=0.0,
        augment=None,
        weight_averaging=False,
        precision="float32",
        patience=None,
        callbacks=(),
        device=device,
        compile=False,
        verbose=0,
    )
    with session(device, (clf.seed_, 0, 1)):
        net.initialize().train(part, None, epochs=1, schedule="one_cycle")
        if not net.ended_:
            raise KeyboardInterrupt  # skorch ends a training for Ctrl-C without an error; half of a probe is none
        looked_at = np.concatenate([held_out, learnt])
        plain = are_recognised(net, rows, held_out, lambda x: x)
        changed = {name: are_recognised(net, rows, looked_at, change) for name, change in CHANGES.items()}
    return compare_recognition(labels[looked_at], plain, changed, len(clf.classes_))


def are_recognised(
    net: Net, rows: Rows, positions: NDArray[np.int64], change: Callable[[torch.Tensor], torch.Tensor]
) -> NDArray[np.bool_]:
    """Return which images are recognised once they are changed, some at a time, as large ones would fill the memory."""
    parts = torch.split(torch.from_numpy(positions), IMAGES_AT_ONCE)
    found = [net.logits(change(rows.X[part])).argmax(dim=1) == rows.y[part] for part in parts]
    return torch.cat(found).numpy()


def compare_recognition(
    true: NDArray[np.int64], plain: NDArray[np.bool_], changed: Mapping[str, NDArray[np.bool_]], n_classes: int
) -> AugmentProbe:
    """Compare how many changed images are recognised with how many are expected to be.

    What is expected of a class is the share of its held-out images that are recognised as they are, with a few images
    of all classes added; and of that the lower end of a 95 % interval, as held-out images may be few.

    Parameters
    ----------
    true : ndarray of shape (n,), int64
        The class of each image; the held-out ones come first.
    plain : ndarray of shape (n_held_out,), bool
        Whether a held-out image is recognised as it is.
    changed : mapping of str to ndarray of shape (n,), bool
        By change, whether an image is recognised changed.
    n_classes : int
        Classes of the training images.

    Returns
    -------
    AugmentProbe

    References
    ----------
    Wilson 1927, Probable inference, the law of succession, and statistical inference, for the interval.
    """
    n_held_out, n_images = len(plain), np.bincount(true, minlength=n_classes)
    recognised = float(plain.mean())
    lowest = binomtest(int(plain.sum()), n_held_out).proportion_ci(0.9, "wilson").low  # one-sided 95 %
    of_class, right = (np.bincount(true[:n_held_out], weight, n_classes) for weight in (None, plain))
    expected = (right + PRIOR * recognised) / (of_class + PRIOR) * (lowest / max(recognised, lowest))
    # No evidence unless recognition is better, by two standard errors, than always answering the largest class.
    share = of_class.max() / n_held_out
    is_known = recognised > share + 2 * np.sqrt(share * (1 - share) / n_held_out)
    n_unknown = int((n_images < FEWEST_OF_CLASS).sum())
    kept, worst, tolerated = {}, {}, []
    for name, still in changed.items():
        still_of_class = np.bincount(true, still, n_classes)
        unlikely = binom.cdf(still_of_class, n_images, KEPT_OF_CLASS * expected)
        worst_class = unlikely.argmin()
        kept[name] = share_kept(still.mean(), recognised)
        worst[name] = share_kept(still_of_class[worst_class] / max(1, n_images[worst_class]), expected[worst_class])
        unlikely_of_all = binom.cdf(still.sum(), len(true), KEPT_OF_ALL * lowest)
        if min(unlikely.min(), unlikely_of_all) >= CLEAR and (
            name != "flip" or (is_known and not n_unknown and recognised * len(true) >= FEWEST_RECOGNISED)
        ):
            tolerated.append(name)
    return AugmentProbe(n_held_out, recognised, len(true), kept, worst, n_unknown, tuple(tolerated))


def share_kept(share: float, expected: float) -> float:
    """Return which part of an expected share there is, 1 at most."""
    return float(min(1.0, share / expected)) if expected > 0 else 1.0


def name_changes(probe: AugmentProbe | None, epochs: int) -> str | list[str] | None:
    """Return what a probe tolerates and pays in so many epochs, as the parameter ``augment`` takes it.

    Without a probe, as there are too few images for it, they are shifted: a mirror needs evidence.

    Examples
    --------
    >>> shares = {"flip": 0.92, "shift": 0.99}, {"flip": 0.9, "shift": 0.95}
    >>> probe = AugmentProbe(200, 0.97, 1000, *shares, 0, ("flip", "shift"))
    >>> [name_changes(probe, epochs) for epochs in (3, 4, 6)]
    [None, 'flip', ['flip', 'shift']]
    """
    tolerated = ("shift",) if probe is None else probe.tolerated
    names = [name for name in tolerated if epochs >= PAYS_FROM[name]]
    return None if not names else names[0] if len(names) == 1 else names
