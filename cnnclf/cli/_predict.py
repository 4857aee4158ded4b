"""The command `predict`."""

import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import typer

from cnnclf._utils.files import write_atomically
from cnnclf._utils.text import percent, quote, quote_all, share_of, unexpected
from cnnclf.cli._models import as_rows
from cnnclf.cli._options import BadUsageError, Classifier, Images, show_table

N_TOP = 3
N_SHOWN = 96  # images on a contact sheet: twelve rows
LONGEST_NAME = 10


@dataclass(frozen=True)
class Guess:
    """A label and its probability."""

    label: Any
    probability: float


@dataclass(frozen=True)
class Prediction(Guess):
    """The label of one picture, and the most probable labels, the first of which it is."""

    picture: str
    top: tuple[Guess, ...]

    @property
    def share(self) -> str:
        """The probability in words, which is never 100 % unless it is."""
        return percent(share_of([guess.probability for guess in self.top], 0))


@dataclass(frozen=True, eq=False)
class Inputs:
    """Images to classify, as the network takes them.

    Attributes
    ----------
    of_names : str
        What the names are, for the head of a table.
    names : sequence of str
        The paths of pictures, or what tells the rows of a table apart.
    rows : ndarray of shape (n, …)
        The images that could be read.
    errors : sequence of str
        Why each of the others could not.
    """

    of_names: str
    names: Sequence[str]
    rows: Images
    errors: Sequence[str] = ()


def check_files(out: Path | None, show: Path | None, arguments: Sequence[str]) -> None:
    """Check the names of the files to write, before anything is read."""
    for option, file, suffix in (("--out", out, ".csv"), ("--show", show, ".png")):
        if file is None:
            continue
        if file.suffix.lower() != suffix:
            raise BadUsageError(f"Expected {option} to end in {suffix}; got {quote(file)}. Change its name.")
        if not file.parent.is_dir():
            raise BadUsageError(f"Expected {option} to be in a folder that is there; got {quote(file)}. Make it first.")
        if any(Path(argument).resolve() == file.resolve() for argument in arguments):
            raise BadUsageError(f"Expected {option} to be another file than what is read; got {quote(file)} for both.")


def read_inputs(arguments: Sequence[str], clf: Classifier) -> Inputs:
    """Read pictures, folders of them, or a table."""
    from cnnclf.datasets._source import TABLE

    tables = [name for name in arguments if TABLE.fullmatch(Path(name).name) and Path(name).is_file()]
    if tables and len(arguments) > 1:
        raise BadUsageError(f"Expected one table, or pictures; got {quote_all(arguments)}. Pass them one by one.")
    return read_rows(Path(tables[0]), clf) if tables else read_files(find_pictures(arguments), clf)


def read_rows(table: Path, clf: Classifier) -> Inputs:
    """Read the images of a table, whose labels are not read."""
    from cnnclf.datasets._contents import Arrays
    from cnnclf.datasets._unlabelled import read_unlabelled

    n_channels, height, width = clf.input_spec_.image_shape
    found = read_unlabelled(table, n_channels * height * width)
    if found.unused:
        typer.echo(f"{table}: not used: {quote_all(found.unused)}", err=True)
    content = found.content
    if isinstance(content, Arrays) and n_channels == 1:
        content = replace(content, X=content.X.reshape(-1, height, width))
    elif isinstance(content, Arrays) and content.X.shape[1:3] != (height, width):
        shape = f"{width}×{height} pixels of {n_channels} channels"
        raise ValueError(unexpected(table, "a network of square images, or grey ones", shape, "Pass pictures"))
    return Inputs(found.of_identifier, found.identifiers, as_rows(content, clf))


def read_files(pictures: Sequence[str], clf: Classifier) -> Inputs:
    """Read pictures, one of which may be on standard input."""
    from cnnclf.images._pictures import read_pictures

    sources = [(picture, sys.stdin.buffer.read() if picture == "-" else picture) for picture in pictures]
    rows, errors = read_pictures(sources, clf.input_spec_)
    images = np.stack([row for _, row in rows]) if rows else np.empty((0, *clf.input_spec_.input_shape))
    return Inputs("image", [name for name, _ in rows], images, [sentence for _, sentence in errors])


def find_pictures(arguments: Sequence[str]) -> list[str]:
    """Return the paths of the pictures; a folder gives all pictures in it and in its sub-folders, by name."""
    from cnnclf.images._pictures import list_pictures

    found: list[str] = []
    for argument in arguments:
        inside = [*map(str, list_pictures(Path(argument)))] if Path(argument).is_dir() else [argument]
        if not inside:
            raise ValueError(f"{Path(argument)}: expected pictures in this folder; there are none.")
        found += inside
    return found


def classify(clf: Classifier, inputs: Inputs) -> list[Prediction]:
    """Predict the class of each image."""
    if not len(inputs.rows):
        return []
    classes = clf.classes_.tolist()
    predictions = []
    for name, row in zip(inputs.names, clf.predict_proba(inputs.rows), strict=True):
        top = tuple(Guess(classes[i], float(row[i])) for i in np.argsort(-row, kind="stable")[:N_TOP])
        predictions.append(Prediction(top[0].label, top[0].probability, name, top))
    return predictions


def write_submission(out: Path, inputs: Inputs, predictions: Sequence[Prediction]) -> None:
    """Write a table of two columns, as Kaggle's competitions take it; nothing, where an image could not be read."""
    if inputs.errors:
        found = f"{len(inputs.errors):,} that cannot be read"
        raise ValueError(unexpected(out, "a label for each image", found, "Nothing is written"))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([inputs.of_names, "Label" if inputs.of_names[:1].isupper() else "label"])
    writer.writerows((prediction.picture, prediction.label) for prediction in predictions)
    write_atomically(out, text.getvalue().encode())


def draw_contact_sheet(file: Path, clf: Classifier, inputs: Inputs, predictions: Sequence[Prediction]) -> int:
    """Draw the images as the network sees them, with their names and labels; return how many there are."""
    from cnnclf.images._arrays import check_images
    from cnnclf.plots._augmentation import as_pictures
    from cnnclf.plots._data import ImageGridDisplay
    from cnnclf.report._render import to_png

    pixels, _ = check_images(inputs.rows[:N_SHOWN], layout=clf.input_spec_)
    white = clf.input_spec_.white or float(pixels.max())
    captions = [f"{shorten(Path(it.picture).name)}\n{it.label}\n{it.share}" for it in predictions[:N_SHOWN]]
    display = ImageGridDisplay(as_pictures(pixels, 0, white), captions, n_columns=8).plot()
    write_atomically(file, to_png(display.figure_))
    return len(captions)


def shorten(name: str) -> str:
    """Leave out the middle of a name that is too long for a caption.

    Examples
    --------
    >>> shorten("IMG_20261201_0042.jpg"), shorten("7.png")
    ('IMG…42.jpg', '7.png')
    """
    return f"{name[:3]}…{name[-6:]}" if len(name) > LONGEST_NAME else name


def show_predictions(predictions: Sequence[Prediction]) -> None:
    """Print a table of the most probable labels of each picture; on a terminal with a bar of the probability."""
    rows = []
    for prediction in predictions:
        probability = prediction.share
        if sys.stdout.isatty():
            probability += " " + "█" * round(10 * prediction.probability)
        others = "   ".join(f"{other.label} {percent(other.probability)}" for other in prediction.top[1:])
        rows.append((prediction.picture, str(prediction.label), probability, others))
    show_table(("picture", "label", "probability", "else"), rows)
