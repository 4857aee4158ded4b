"""Execute the notebooks on MNIST and keep what they print and draw.

    python notebooks/execute.py                        # all of them
    python notebooks/execute.py 01_convolution_basics  # one

Each runs on one thread, in an empty folder that is thrown away afterwards, and is written whole when it has finished:
one that fails stays as it was.
"""

import os
import sys
import time
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from cnnclf import load_mnist
from cnnclf._utils.files import write_atomically

HERE = Path(__file__).parent
LIMIT = 600  # seconds a cell
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
ENVIRONMENT = {
    **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "CNNCLF")},
    "PYTHONWARNINGS": "ignore:IProgress not found",  # Optuna would draw bars with ipywidgets, were it there
}


def main() -> None:
    """Execute the notebooks that the command line names."""
    names = sys.argv[1:] or sorted(path.stem for path in HERE.glob("*.ipynb"))
    try:
        for split in ("train", "test"):
            load_mnist(split)  # "auto" would take the digits where there is no MNIST
        for name in names:
            rewrite(HERE / f"{name.removesuffix('.ipynb')}.ipynb")
    except (FileNotFoundError, CellExecutionError) as error:
        sys.exit(str(error))


def rewrite(path: Path) -> None:
    """Execute one notebook in place."""
    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        execute(notebook, Path(folder))
    normalise(notebook)
    content = nbformat.writes(notebook).encode() + b"\n"
    write_atomically(path, content)
    print(f"{path.name}: {time.perf_counter() - start:.0f} s, {len(content) / 1000:.0f} kB")


def execute(notebook: Any, folder: Path) -> None:
    """Run every code cell of a notebook, which keeps what comes out.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        Its outputs are replaced.
    folder : Path
        Where it runs; what it writes and what IPython keeps lies there.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails; the sentence holds the cell and the error.
    """
    client = NotebookClient(
        notebook,
        timeout=LIMIT,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        # It warns that messages on this machine are not encrypted; and colours would be escape sequences in an error.
        extra_arguments=["--log-level=ERROR", "--InteractiveShell.colors=NoColor"],
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=os.environ | ENVIRONMENT | {"IPYTHONDIR": str(folder / ".ipython")})


def normalise(notebook: Any) -> None:
    """Keep of the metadata what every machine has, the language and the tags of cells; make the pictures smaller."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({key: cell.metadata[key] for key in ("tags",) if key in cell.metadata})
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = shrink(output.data["image/png"])


def shrink(png: str) -> str:
    """Give a picture 256 colours, which look the same as all of them: a third of the bytes."""
    picture, small = Image.open(BytesIO(b64decode(png))), BytesIO()
    picture.quantize(256, Image.Quantize.FASTOCTREE).save(small, "png", optimize=True)
    return b64encode(small.getvalue()).decode()


if __name__ == "__main__":
    main()
