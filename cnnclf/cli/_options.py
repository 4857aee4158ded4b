"""What several commands share: options, completion, output, and errors of one sentence."""

import shlex
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from glob import escape, glob
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import typer
from numpy.typing import NDArray

from cnnclf._utils.extras import needed_by
from cnnclf._utils.text import cut, quote
from cnnclf.architectures._table import find_architecture, list_architectures
from cnnclf.classifier._recipes import RECIPES
from cnnclf.datasets._load import LARGEST_SIDE, check_size
from cnnclf.datasets._source import is_data

if TYPE_CHECKING:
    from cnnclf.classifier._classifier import CNNClassifier
    from cnnclf.onnx._classifier import ONNXClassifier

COMPARED = "compact,lenet5,keras_mnist"  # by --profile full
NAMED = ("mnist", "digits")  # datasets; all others are paths
Images = NDArray[Any]
Labels = NDArray[Any]
Classifier: TypeAlias = "CNNClassifier | ONNXClassifier"


def complete_architecture(typed: str) -> list[str]:
    """Return the architectures that begin with what is typed."""
    return [name for name in list_architectures() if name.startswith(typed)]


def complete_architectures(typed: str) -> list[str]:
    """Return the completions of the last name in a comma-separated list, without those before it."""
    *before, last = typed.split(",")
    return [",".join([*before, name]) for name in complete_architecture(last) if name not in before]


def complete_recipe(typed: str) -> list[str]:
    """Return the recipes that begin with what is typed."""
    return [name for name in RECIPES if name.startswith(typed)]


def complete_labelled(typed: str) -> list[str]:
    """Return the named datasets, and the folders and files of data that begin with what is typed."""
    found = sorted(glob(f"{escape(typed)}*"))  # noqa: PTH207 - Path.glob changes how the beginning is written
    data = [path for path in found if is_data(Path(path)) and Path(path).is_file()]
    folders = [f"{path}/" for path in found if Path(path).is_dir()]
    return [name for name in NAMED if name.startswith(typed)] + folders + data


def complete_dataset(typed: str) -> list[str]:
    """Return the datasets that begin with what is typed, auto among them."""
    automatic = ["auto"] if "auto".startswith(typed) else []
    return automatic + complete_labelled(typed)


class Profile(StrEnum):
    """How much a report compares."""

    quick = "quick"
    full = "full"


class BadUsageError(Exception):
    """The command line asks for something impossible."""


DATASET = typer.Option(
    autocompletion=complete_dataset,
    metavar="auto|mnist|digits|PATH",
    help="Data: MNIST, scikit-learn's small digits, or a path: a folder with one sub-folder of images per class, or "
    "such in train and test; IDX files, .npz, .csv, .parquet or .mat. auto is MNIST if it is available, else the "
    "digits.",
)
EPOCHS = typer.Option(min=1, metavar="N", help="Passes over the training images.", show_default="the estimator's own")
SEED = typer.Option(min=0, max=2**32 - 1, metavar="N", help="Seed of every random choice.")
PROFILE = typer.Option(help="quick trains one network; full first compares several by k-fold and trains the best.")
ARCHITECTURE = typer.Option(
    autocompletion=complete_architecture,
    metavar="NAME",
    help="The network to train.",
    show_default="the estimator's own; full: the best of them",
)
RECIPE = typer.Option(
    autocompletion=complete_recipe,
    metavar="NAME",
    help=f"A network with the settings of its training, in place of --architecture: {', '.join(RECIPES)}. "
    "--epochs overrides its own.",
    show_default=False,
)
SIZE = typer.Option(
    metavar="N|H,W|median",
    help="The size that all images get, in pixels: one number, height and width, or the medians of the training "
    "images. Proportions are kept.",
    show_default="that of the images, which must all have the same",
)
LABEL = typer.Option(
    metavar="COLUMN",
    help="The column of a table with the labels, by name or by position.",
    show_default="one with a usual name, such as label or class",
)
CACHE = typer.Option(
    metavar="FOLDER",
    help="For images that are larger than memory: pictures are decoded into a file in this folder, once, and the "
    "network is trained from there.",
    show_default="all images are in memory",
)
ARCHITECTURES = typer.Option(autocompletion=complete_architectures, metavar="A,B,…", help="Networks to compare.")
TO_COMPARE = typer.Option(
    autocompletion=complete_architectures,
    metavar="A,B,…",
    help="full: networks to compare.",
    show_default=COMPARED.replace(",", ", "),
)
FOLDS = typer.Option(min=2, metavar="N", help="full: folds of the comparison.", show_default="3")
FROM_PREDICTIONS = typer.Option(
    metavar="FILE",
    help="Evaluate saved predictions of any classifier instead: .csv with columns true and predicted (or probabilities "
    "per class), .npz with y_true and y_pred (or y_proba and classes). --dataset adds the test images.",
    show_default=False,
)
JOBS = typer.Option(metavar="N", help="Fits of the comparison at the same time; -1 is one per core.")
MODEL = typer.Argument(metavar="MODEL", help="File of CNNClassifier.save (.cnn).", show_default=False)
EITHER_MODEL = typer.Argument(metavar="MODEL", help="File of to_onnx (.onnx) or of save (.cnn).", show_default=False)
OUT = typer.Option(metavar="DIR", help="Folder for the results and the finished fits of a comparison.")
JSON = typer.Option("--json", help="Print JSON.")
CALIBRATION = typer.Option(
    autocompletion=complete_labelled,
    metavar="mnist|digits|PATH",
    help="Training images on which --int8 measures the range of every layer.",
    show_default=False,
)
PICTURES = typer.Argument(
    metavar="PICTURE",
    help="Image files, folders of them, - for one on standard input, or a .csv table of pixels or paths.",
    show_default=False,
)
SUBMISSION = typer.Option(
    metavar="FILE.csv",
    help="Write a table of two columns, as Kaggle's competitions take it, instead of printing labels.",
    show_default=False,
)
CONTACT_SHEET = typer.Option(
    metavar="FILE.png", help="Draw the images as the network sees them, with their labels.", show_default=False
)
DIGIT = typer.Option(metavar="LABEL", help="Trace a test image of this class.", show_default=False)
IMAGE = typer.Option(metavar="FILE", help="Trace the picture in this file.", show_default=False)
TRACE_FILE = typer.Option(
    metavar="FILE",
    help="File to write: .html is a page to explore, .xlsx a workbook with live formulas, .md, .tex and .txt are text.",
    show_default="text on standard output",
)
PAGE = typer.Option(metavar="FILE.html", help="File to write.")
SAMPLES = typer.Option(
    autocompletion=complete_labelled,
    metavar="mnist|digits|PATH",
    help="Data whose test images can be picked in the page: a few of each class.",
    show_default="none",
)
LABELLED = typer.Option(
    autocompletion=complete_labelled,
    metavar="mnist|digits|PATH",
    help="Data: MNIST’s test set, the fifth of scikit-learn’s digits that `report` holds out, or a path, as for "
    "`report`: its test split, or all of data without splits.",
    show_default="mnist or digits, if the network was trained on it",
)


@contextmanager
def clear_errors(nothing: str) -> Iterator[None]:
    """Report each error that a user can cause as one sentence on stderr with an exit code, and each warning as one."""
    try:
        with warnings.catch_warnings(), needed_by("this command"):
            warnings.showwarning = lambda message, *_: typer.echo(f"warning: {message}", err=True)
            yield
    except BadUsageError as error:
        fail(str(error), 2)
    except typer.Exit:  # which is a RuntimeError
        raise
    except OSError as error:  # those of the system hold the path apart, of any length
        fail(str(error) if error.filename is None else f"{cut(str(error.filename), 200)}: {error.strerror}", 1)
    except MemoryError as error:
        fail(f"not enough memory: {error}", 1)
    except (ImportError, ValueError, RuntimeError) as error:
        fail(str(error), 1)
    except KeyboardInterrupt:
        fail(f"interrupted; {nothing}", 130)


def fail(sentence: str, code: int) -> NoReturn:
    """Print the error and exit."""
    typer.echo(f"error: {sentence}", err=True)
    raise typer.Exit(code)


def prepare_folder(folder: Path) -> None:
    """Create the folder and check that it can be written to, before anything costly is done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise BadUsageError(
            f"Expected --out to be a folder that can be written to; got {folder} ({error.strerror}). Pass another one."
        ) from error


def check_dataset_name(dataset: str | None, *names: str, option: str = "--dataset") -> None:
    """Raise BadUsageError for a name that is neither a known dataset nor a path or the beginning of one."""
    if dataset is None or dataset in names:
        return
    path = Path(dataset).expanduser()
    begins = path.parent.is_dir() and any(path.parent.glob(f"{escape(path.name)}*"))  # as of IDX files
    if not dataset or not (path.exists() or begins):
        raise BadUsageError(
            f"Expected {option} to be {', '.join(names)} or the path of a folder or a file of images; got "
            f"{quote(dataset)}."
        )


def parse_size(size: str | None) -> Any:
    """Return the value of --size as ``load_dataset`` takes it; raise BadUsageError for what is none."""
    if size is None or size == "median":
        return size
    sides = size.split(",")
    try:
        numbers = [int(side) for side in sides]
        return check_size(numbers[0] if len(numbers) == 1 else tuple(numbers))
    except ValueError:
        raise BadUsageError(
            f"Expected --size to be a number of pixels from 1 to {LARGEST_SIDE:,}, two of them, height,width, or "
            f"median; got {quote(size)}."
        ) from None


@dataclass(frozen=True)
class DataOptions:
    """What --dataset, --size, --label and --cache say about the data of a study."""

    dataset: str
    size: str | None = None
    label: str | None = None
    cache: Path | None = None

    def __post_init__(self) -> None:
        check_dataset_name(self.dataset, "auto", *NAMED)
        check_own(self.dataset, self.size, self.label, self.cache)
        parse_size(self.size)

    @property
    def own(self) -> dict[str, Any]:
        """Size and label as ``load_dataset`` takes them."""
        return {"size": parse_size(self.size), "label": self.label}

    def to_options(self) -> dict[str, Any]:
        """Return the options that were given, for a command that does the same again."""
        given = {"dataset": self.dataset, "size": self.size, "label": self.label, "cache": self.cache}
        return {name: value for name, value in given.items() if value is not None}


def check_own(dataset: str | None, *of_own: object) -> None:
    """Raise BadUsageError for options of own data beside a dataset that is none."""
    if any(option is not None for option in of_own) and (dataset is None or dataset in ("auto", *NAMED)):
        raise BadUsageError("Expected a path for --dataset with --size, --label or --cache; got none. Leave them out.")


def tell_what_was_read(description: str) -> None:
    """Print what was understood of own data on stderr."""
    if description:
        typer.echo(description, err=True)


def check_jobs(jobs: int) -> None:
    """Raise BadUsageError for a number of jobs that cannot be used."""
    if jobs == 0:
        raise BadUsageError("Expected --jobs to be 1 or more, or -1 for one per core; got 0.")


def split_names(architectures: str) -> list[str]:
    """Return the names in a comma-separated list of architectures; raise BadUsageError for unknown ones."""
    names = [name.strip() for name in architectures.split(",") if name.strip()]
    try:
        for name in names:
            find_architecture(name)
    except ValueError as error:
        raise BadUsageError(str(error)) from error
    if len(names) < 2 or len(set(names)) < len(names):
        raise BadUsageError(
            f"Expected --architectures to be two or more different names, such as {COMPARED}; "
            f"got {quote(architectures)}."
        )
    return names


def command_line(command: str, options: Mapping[str, Any]) -> str:
    """Return the command that does the same again, even if the defaults have changed."""
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return shlex.join(["cnnclf", command, *words])


def to_json(value: Any) -> str:
    """Return JSON as the commands print and save it."""
    return dumps(value, indent=2, ensure_ascii=False)


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: aligned on a terminal, else with tabs, for other programs."""
    if not sys.stdout.isatty():
        for row in (head, *rows):
            typer.echo("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name, column in zip(head, zip(*rows, strict=True), strict=True):
        whole_numbers = all(cell.replace(",", "").isdecimal() for cell in column)
        table.add_column(name, justify="right" if whole_numbers else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
