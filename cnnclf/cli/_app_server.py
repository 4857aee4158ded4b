"""A page to draw on, served on this machine alone: what a network makes of every stroke, while it is drawn.

The page is one document of our own, and Python's own HTTP server is behind it. docs/app.md explains why,
what it measures, and what it promises: it contacts no other machine, and no page of another site gets an answer.

A `.cnn` file is the network itself, which is traced. An `.onnx` file is a graph, in which batch normalisation is folded
into the convolutions; what leaves its convolutions and poolings can be had all the same, from a second session whose
graph gives those, too. The first convolution of an int8 graph may be rearranged: its maps are then those of the graph.
"""

import base64
import binascii
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

import numpy as np
from markupsafe import Markup

from cnnclf._utils.jinja import digest, page_templates, read_as_is
from cnnclf._utils.text import quote
from cnnclf.cli._app_network import Network, TracedNetwork, pack
from cnnclf.images._strokes import MOST_POINTS, SIDE, Drawing, Paper

TEMPLATES = page_templates("cnnclf.cli")
MOST_BYTES = 2**18  # of a request: a drawing of MOST_POINTS takes 120 kB
PATIENCE = 60  # seconds that a silent connection is kept

WALKTHROUGH = "/walkthrough/"
PAGE_POLICY = (
    "default-src 'none'; style-src '{style}'; script-src '{script}'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Reader:
    """A network, the images it takes, and the text about it that a visitor reads.

    Attributes
    ----------
    network : Network
        What is asked.
    paper : Paper
        What it takes drawings as.
    about : str
        One or two sentences on what it is and what it learnt from.
    """

    network: Network
    paper: Paper
    about: str

    def page(self) -> tuple[str, str]:
        """Build the page and its content security policy."""
        files = {
            "style": read_as_is(TEMPLATES, "style.css", "app.css"),
            "script": read_as_is(TEMPLATES, "percent.js", "app.js"),
        }
        labels = self.network.labels
        page = TEMPLATES.get_template("app.html.j2").render(
            about=self.about,
            are_digits=set(labels) <= set("0123456789"),
            labels=labels,
            can_walk=isinstance(self.network, TracedNetwork),
            settings={"side": SIDE, "most_points": MOST_POINTS, "labels": labels, "size": self.size},
            **{name: Markup(text) for name, text in files.items()},
        )
        return page, PAGE_POLICY.format(**{name: digest(text) for name, text in files.items()})

    @property
    def size(self) -> tuple[int, int]:
        """The network's (height, width)."""
        _, height, width = self.paper.spec.image_shape
        return height, width

    def read(self, fields: Any) -> dict[str, Any]:
        """Describe what a drawing, decoded from JSON, is read as.

        Parameters
        ----------
        fields : object
            As :meth:`cnnclf.images._strokes.Drawing.from_json` takes it.

        Returns
        -------
        dict
            ``probabilities``, of all labels; ``image``, the ink that the network saw, 0 to 255, as base64; ``maps``, a
            list of each layer's ``name``, ``shape``, shown ``channels``, ``largest`` absolute value and ``values``, in
            127ths of that, as base64.

        Raises
        ------
        ValueError
            If it is no drawing.
        """
        ink = self.paper.place(Drawing.from_json(fields))
        look = self.network.look(self.paper.to_row(ink))
        return {
            "probabilities": look.probabilities.tolist(),
            "image": base64.urlsafe_b64encode(ink.tobytes()).decode(),
            "maps": [pack(maps) for maps in look.maps],
        }

    def walk(self, image: str) -> str | None:
        """Build the walkthrough of an image as :meth:`read` gave it; None if there is none.

        Raises
        ------
        ValueError
            If it is no such image.
        """
        height, width = self.size
        try:
            ink = np.frombuffer(base64.b64decode(image, b"-_", validate=True), dtype=np.uint8).reshape(height, width)
        except (binascii.Error, ValueError) as error:
            raise ValueError(
                f"Expected an image of {height}×{width} bytes in base64; got {quote(image)}. Draw it again."
            ) from error
        return self.network.walk(self.paper.to_row(ink))


class Server(ThreadingTCPServer):
    """The server of one page, on 127.0.0.1; each connection has a thread.

    Parameters
    ----------
    reader : Reader
        What answers.
    port : int, default=0
        Where; 0 is any that is free.

    Attributes
    ----------
    url : str
        Of the page.

    Raises
    ------
    OSError
        If the port is taken, or is not for everybody to take.

    Examples
    --------
    >>> import threading
    >>> from urllib.request import urlopen
    >>> from cnnclf import CNNClassifier, load_digits
    >>> from cnnclf.images._strokes import Paper
    >>> X, y = load_digits()
    >>> clf = CNNClassifier("lenet5", max_epochs=1, random_state=0, preparation="handwriting").fit(X[:100], y[:100])
    >>> with Server(Reader(TracedNetwork(clf), Paper.of(clf.input_spec_), "A network.")) as server:
    ...     threading.Thread(target=server.serve_forever).start()
    ...     with urlopen(server.url) as page:
    ...         print(page.status)
    ...     server.shutdown()
    200
    """

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # elsewhere it would share the port with whoever has it

    def __init__(self, reader: Reader, port: int = 0) -> None:
        self.reader = reader
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except OSError as error:
            raise OSError(
                f"Port {port} of 127.0.0.1 cannot be had ({error.strerror}). Give another one, or 0 for any that is "
                "free."
            ) from error
        self.port = int(self.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/"
        self.hosts = {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost")}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say in a line what went wrong, unless a browser just went away."""
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            print(f"error: {error!r}", file=sys.stderr)


class RefusedError(Exception):
    """A request that is not answered, with the status that says so."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    """One connection: the page, what is made of a drawing, and the walkthrough of an image."""

    server: Server
    protocol_version = "HTTP/1.1"  # a connection serves stroke after stroke
    server_version, sys_version = "cnnclf", ""
    timeout = PATIENCE
    disable_nagle_algorithm = True  # else a small answer waits for the receipt of its head

    def do_GET(self) -> None:
        """Return the page or a walkthrough."""
        self.answer(self.get)

    def do_POST(self) -> None:
        """Read a drawing."""
        self.answer(self.post)

    def answer(self, make: Callable[[], "Answer"]) -> None:
        """Send what was asked for, or why not."""
        try:
            self.check_visitor()
            status, answer = HTTPStatus.OK, make()
        except RefusedError as error:
            status, answer = error.status, Answer.of({"error": str(error)})
        except ValueError as error:
            status, answer = HTTPStatus.UNPROCESSABLE_ENTITY, Answer.of({"error": str(error)})
        if status != HTTPStatus.OK:
            self.close_connection = True  # the request may not have been read to its end
        self.send_response(status)
        for name, value in {
            "Content-Type": answer.kind,
            "Content-Length": str(len(answer.content)),
            "Content-Security-Policy": answer.policy,
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            "Connection": "close" if self.close_connection else "keep-alive",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.content)

    def check_visitor(self) -> None:
        """Refuse what a page of another site sends.

        A name of its own that points here (DNS rebinding) is in Host. Origin and Sec-Fetch-Site show which site sends a
        request under our name; any site may link to the page itself.
        """
        if self.headers.get_all("Host") not in [[host] for host in self.server.hosts]:
            raise RefusedError(HTTPStatus.MISDIRECTED_REQUEST, f"This server is {self.server.url} and no other.")
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site", "none")
        ours = (None, *(f"http://{host}" for host in self.server.hosts))
        if origin not in ours or (self.path != "/" and site not in ("none", "same-origin")):
            raise RefusedError(HTTPStatus.FORBIDDEN, f"Only the page {self.server.url} gets answers here.")

    def get(self) -> "Answer":
        """Return the page or a walkthrough."""
        if self.path == "/":
            page, policy = self.server.reader.page()
            return Answer("text/html; charset=utf-8", page.encode(), policy)
        if self.path.startswith(WALKTHROUGH):
            walkthrough = self.server.reader.walk(self.path.removeprefix(WALKTHROUGH))
            if walkthrough is not None:  # whose own policy is in the page
                return Answer("text/html; charset=utf-8", walkthrough.encode(), "frame-ancestors 'none'")
        raise RefusedError(HTTPStatus.NOT_FOUND, f"There is nothing here. The page is {self.server.url}.")

    def post(self) -> "Answer":
        """Read a drawing."""
        if self.path != "/read":
            raise RefusedError(HTTPStatus.NOT_FOUND, "There is nothing here. Drawings are read at /read.")
        if self.headers.get_content_type() != "application/json":
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Expected a drawing as application/json.")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():  # in Latin-1, as which headers are read, 0 to 9 alone
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "Expected a Content-Length.")
        if len(length) > 9 or int(length) > MOST_BYTES:
            raise RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"Expected at most {MOST_BYTES:,} bytes; got {length[:20]}. Draw less.",
            )
        body = self.rfile.read(int(length))
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"Expected JSON; got other bytes ({error}).") from error
        return Answer.of(self.server.reader.read(fields))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        """Say nothing: a line for every stroke helps nobody."""


@dataclass(frozen=True)
class Answer:
    """What is sent.

    Attributes
    ----------
    kind : str
        Media type.
    content : bytes
        All of it.
    policy : str
        Content security policy.
    """

    kind: str
    content: bytes
    policy: str

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Answer":
        """Send a dictionary as JSON."""
        content = json.dumps(fields, ensure_ascii=False).encode()
        return cls("application/json; charset=utf-8", content, "default-src 'none'; frame-ancestors 'none'")
