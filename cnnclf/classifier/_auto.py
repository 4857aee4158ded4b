"""What ``fit`` chooses for the parameters that are "auto": architecture, epochs, augmentation."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

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
CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"flip": lambda x: x.flip(3), "shift": shift}

# A change is used if so many of the images, and of those of each class, are recognised as before. Fewer images than
# these are no evidence.
KEPT_OF_ALL, KEPT_OF_CLASS = 0.85, 0.5
FEWEST_RECOGNISED, FEWEST_OF_CLASS = 30, 3


@dataclass(frozen=True)
class AugmentProbe:
    """How well a short training recognises held-out images, as they are and changed.

    Attributes
    ----------
    n_images : int
        Held-out images.
    recognised : float
        Share of them that was recognised.
    kept : mapping of str to float
        By change, images that were recognised when changed, per image that was recognised as it is; empty where too few
        were recognised as they are.
    kept_of_worst_class : mapping of str to float
        The same in the class where it is smallest; classes with few recognised images are taken together.
    n_unknown : int
        Classes of which too few images were recognised, also together; then no change is used.
    """

    n_images: int
    recognised: float
    kept: Mapping[str, float]
    kept_of_worst_class: Mapping[str, float]
    n_unknown: int

    def allowed(self) -> tuple[str, ...]:
        """Return the changes after which images are still recognised.

        Examples
        --------
        >>> AugmentProbe(200, 0.97, {"flip": 0.42, "shift": 0.99}, {"flip": 0.0, "shift": 0.95}, 0).allowed()
        ('shift',)
        """
        return tuple(
            name
            for name, kept in self.kept.items()
            if not self.n_unknown and kept >= KEPT_OF_ALL and self.kept_of_worst_class[name] >= KEPT_OF_CLASS
        )

    def to_text(self) -> str:
        r"""Return the figures in a sentence.

        Examples
        --------
        >>> probe = AugmentProbe(200, 0.97, {"flip": 0.42, "shift": 0.99}, {"flip": 0.0, "shift": 0.95}, 0)
        >>> print(*probe.to_text().split("; "), sep="\n")
        A short training recognised 97.0 % of 200 held-out images
        of these 42.0 % mirrored (0.0 % in the worst class) and 99.0 % shifted (95.0 %).
        """
        recognised = f"A short training recognised {percent(self.recognised, 1)} of {self.n_images:,} held-out images"
        if not self.kept:
            return f"{recognised}, too few to compare them with changed ones."
        flip, shift = self.kept["flip"], self.kept["shift"]
        worst = {name: percent(share, 1) for name, share in self.kept_of_worst_class.items()}
        few = f" Classes with too few recognised images: {self.n_unknown}, so no change is used."
        return (
            f"{recognised}; of these {percent(flip, 1)} mirrored ({worst['flip']} in the worst class) and "
            f"{percent(shift, 1)} shifted ({worst['shift']}).{few if self.n_unknown else ''}"
        )

    @classmethod
    def from_json(cls, fields: Any) -> "AugmentProbe":
        """Read what ``dataclasses.asdict`` gave; ValueError for anything else."""
        match fields:
            case {
                "n_images": int(n_images),
                "recognised": float(recognised),
                "kept": dict(kept),
                "kept_of_worst_class": dict(worst),
                "n_unknown": int(n_unknown),
                **others,
            } if not others and kept.keys() == worst.keys() and kept.keys() in (set(), CHANGES.keys()):
                shares = (recognised, *kept.values(), *worst.values())
                are_shares = all(type(share) is float and 0 <= share < math.inf for share in shares)
                if are_shares and n_images > 0 <= n_unknown:
                    return cls(n_images, recognised, kept, worst, n_unknown)
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
        None where there are too few different rows.
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
        images, true = rows.X[torch.from_numpy(held_out)], labels[held_out]
        plain = net.logits(images).argmax(dim=1).numpy() == true
        changed = {name: net.logits(change(images)).argmax(dim=1).numpy() == true for name, change in CHANGES.items()}
    return compare_recognition(true, plain, changed, len(clf.classes_))


def compare_recognition(
    true: NDArray[np.int64], plain: NDArray[np.bool_], changed: Mapping[str, NDArray[np.bool_]], n_classes: int
) -> AugmentProbe:
    """Count which images are recognised as they are and changed.

    Parameters
    ----------
    true : ndarray of shape (n,), int64
        The class of each image.
    plain : ndarray of shape (n,), bool
        Whether it is recognised as it is.
    changed : mapping of str to ndarray of shape (n,), bool
        By change, whether it is recognised changed.
    n_classes : int
        Classes of the training images. Those with few recognised images are compared together.

    Returns
    -------
    AugmentProbe
    """
    of_class = np.bincount(true, plain, minlength=n_classes)
    rare = of_class < FEWEST_OF_CLASS
    group = np.where(rare, n_classes, np.arange(n_classes))[true]  # all rare classes are one, the last one
    of_group = np.bincount(group, plain, minlength=n_classes + 1)
    known = of_group >= FEWEST_OF_CLASS
    n_unknown = 0 if known[-1] else int(rare.sum())
    kept, worst = {}, {}
    # No evidence unless recognition is better, by two standard errors, than always answering the largest class.
    share = np.bincount(true).max() / len(true)
    chance = share + 2 * np.sqrt(share * (1 - share) / len(true))
    if plain.sum() >= FEWEST_RECOGNISED and plain.mean() > chance and known.any():
        for name, still in changed.items():
            kept[name] = float(still.sum() / plain.sum())
            worst[name] = float((np.bincount(group, still, minlength=n_classes + 1)[known] / of_group[known]).min())
    return AugmentProbe(len(true), float(plain.mean()), kept, worst, n_unknown)


def name_changes(probe: AugmentProbe | None, epochs: int) -> str | list[str] | None:
    """Return what a probe allows and pays in so many epochs, as the parameter ``augment`` takes it.

    Examples
    --------
    >>> probe = AugmentProbe(200, 0.97, {"flip": 0.92, "shift": 0.99}, {"flip": 0.9, "shift": 0.95}, 0)
    >>> [name_changes(probe, epochs) for epochs in (3, 4, 6)]
    [None, 'flip', ['flip', 'shift']]
    """
    names = () if probe is None else [name for name in probe.allowed() if epochs >= PAYS_FROM[name]]
    return None if not names else names[0] if len(names) == 1 else list(names)
