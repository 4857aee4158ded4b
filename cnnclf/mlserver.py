"""ONNX file → model folder, from which MLServer serves with the class in `mlserver_runtime`."""

import json
import os
from pathlib import Path

from cnnclf.files import name_model, write_atomically
from cnnclf.onnx_classifier import make_session, read_file, read_metadata

# Of the whole server. The network runs in the server's own process, which is enough for one that takes microseconds an
# image; tracebacks are not for clients; other machines are for whoever changes this.
SERVER = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False}


def write_repository(model: str | os.PathLike[str], folder: str | os.PathLike[str], name: str | None = None) -> Path:
    """Write what MLServer needs to serve a file of :meth:`cnnclf.CNNClassifier.to_onnx`: ``mlserver start folder``.

    Parameters
    ----------
    model : path-like
        The ``.onnx`` file.
    folder : path-like
        Where the server's models lie, each in a folder of its own; made if it is missing. Its ``settings.json`` stays
        as it is if there is one.
    name : str, optional
        What requests call the model; the file's name without its ending where nothing is said. A model of this name
        that is there already is replaced.

    Returns
    -------
    Path
        ``folder/name``, with ``model-settings.json`` and the file as ``model.onnx``.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If the file is damaged or not written by ``to_onnx``, or if the name has characters that a folder or an
        address cannot have.
    OSError
        If the folder cannot be written to.

    References
    ----------
    "Settings" and "Model Settings" in MLServer's documentation, https://docs.seldon.ai/mlserver.

    Examples
    --------
    >>> import tempfile
    >>> from cnnclf import CNNClassifier, load_digits
    >>> X, y = load_digits()
    >>> clf = CNNClassifier(max_epochs=1, random_state=0).fit(X[:100], y[:100])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clf.to_onnx(f"{folder}/digits.onnx")
    ...     _ = write_repository(f"{folder}/digits.onnx", f"{folder}/models")
    ...     sorted(path.relative_to(folder).as_posix() for path in Path(folder, "models").rglob("*.*"))
    ['models/digits/model-settings.json', 'models/digits/model.onnx', 'models/settings.json']
    """
    name = name_model(model, name)
    content, source = read_file(model), os.fspath(model)
    make_session(content, read_metadata(content, source), 1, source)  # refuses what could not be served
    place = Path(folder) / name
    settings = {
        "name": name,
        "implementation": "cnnclf.mlserver_runtime.ImageClassifier",
        "parameters": {"uri": "./model.onnx"},
    }
    place.mkdir(parents=True, exist_ok=True)
    if not (server := Path(folder) / "settings.json").exists():
        write_atomically(server, (json.dumps(SERVER, indent=2) + "\n").encode())
    # The settings come last: a folder without them is none of MLServer's models.
    write_atomically(place / "model.onnx", content)
    write_atomically(place / "model-settings.json", (json.dumps(settings, indent=2) + "\n").encode())
    return place
