"""The server of the page: what it answers, and to whom."""

import base64
import hashlib
import http.client
import json
import re
import socket
import time
from contextlib import closing

import pytest

from cnnclf import ONNXClassifier
from cnnclf.cli._app_network import TracedNetwork
from cnnclf.cli._app_server import MOST_BYTES, PATIENCE, Handler, Server
from drawings import DIGITS, ask, drawing, put, read, reader_of, serving


def refused(answer):
    status, headers, content = answer
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["Connection"] == "close"
    return status, json.loads(content)["error"]


def test_it_is_on_this_machine_alone(server):
    assert server.server_address == ("127.0.0.1", server.port)
    assert server.url == f"http://127.0.0.1:{server.port}/"


def test_the_page(server):
    status, headers, content = ask(server, "GET", "/")
    page = content.decode()
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    style, script = (
        base64.b64encode(
            hashlib.sha256(re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1].encode()).digest()
        ).decode()
        for tag in ("style", "script")
    )
    assert headers["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert "The network is &lt;small&gt;." in page
    assert "://" not in page.replace("http://www.w3.org", "")  # no address of anything else
    assert len(page) < 40_000
    assert "<h1>Draw a digit</h1>" in page


def test_a_drawing_is_read(server):
    status, headers, content = read(server, drawing(0))
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert json.loads(content) == json.loads(json.dumps(server.reader.read(drawing(0))))


def test_the_walkthrough_is_that_of_the_trace(server, clf):
    image = json.loads(read(server, drawing(0))[2])["image"]
    status, headers, content = ask(server, "GET", f"/walkthrough/{image}")
    assert (status, headers["Content-Security-Policy"]) == (200, "frame-ancestors 'none'")
    assert content.decode() == TracedNetwork(clf).walk(DIGITS.to_row(put(drawing(0), DIGITS)))


def test_no_answer_is_kept_framed_guessed_at_or_given_to_another_site(server):
    image = json.loads(read(server, drawing(0))[2])["image"]
    nothing = "default-src 'none'; frame-ancestors 'none'"
    for (_, headers, _), policy in [
        (ask(server, "GET", "/"), None),  # its policy is a test of its own
        (ask(server, "GET", f"/walkthrough/{image}"), "frame-ancestors 'none'"),
        (read(server, drawing(0)), nothing),
        (ask(server, "GET", "/", Host="evil.example"), nothing),
        (read(server, {}), nothing),
    ]:
        assert policy in (None, headers["Content-Security-Policy"])
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Server"].strip() == "cnnclf"  # and not which Python
        assert not {name for name in headers if name.startswith("Access-Control-")}


def test_an_onnx_file_has_no_walkthrough_and_the_page_says_so(model):
    with serving(reader_of(ONNXClassifier(model / "digits.onnx"))) as server:
        page = ask(server, "GET", "/")[2].decode()
        assert "start with its <code>.cnn</code> file" in page
        assert 'id="walk"' not in page
        answer = json.loads(read(server, drawing(0))[2])
        assert [maps["name"] for maps in answer["maps"]] == ["conv1", "pool1", "conv2"]
        status, sentence = refused(ask(server, "GET", f"/walkthrough/{answer['image']}"))
        assert (status, sentence) == (404, f"There is nothing here. The page is {server.url}.")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "0.0.0.0:{port}", None]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_name_for_this_machine_is_refused(server, host, method):
    """DNS rebinding: a name that a stranger owns is made to mean 127.0.0.1, so that his page and this are one site."""
    host = host and host.format(port=server.port)
    assert refused(ask(server, method, "/", Host=host)) == (421, f"This server is {server.url} and no other.")


@pytest.mark.parametrize("order", [1, -1])
def test_two_names_for_this_machine_are_refused(server, order):
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.putrequest("GET", "/", skip_host=True)
        for host in (f"127.0.0.1:{server.port}", "evil.example")[::order]:
            connection.putheader("Host", host)
        connection.endheaders()
        assert connection.getresponse().status == 421


def test_localhost_is_this_machine(server):
    assert ask(server, "GET", "/", Host=f"localhost:{server.port}")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_pages_get_no_answers(server, headers):
    headers = {name: value.format(port=server.port) for name, value in headers.items()}
    sentence = f"Only the page {server.url} gets answers here."
    assert refused(read(server, drawing(0), **headers)) == (403, sentence)
    assert refused(ask(server, "GET", f"/walkthrough/{'A' * 86}==", **headers)) == (403, sentence)
    assert ("Origin" in headers) == (ask(server, "GET", "/", **headers)[0] == 403)  # a link to the page is fine


def test_its_own_page_gets_answers(server):
    for host in ("127.0.0.1", "localhost"):
        origin = f"http://{host}:{server.port}"
        assert read(server, drawing(0), Origin=origin, **{"Sec-Fetch-Site": "same-origin"})[0] == 200
    image = json.loads(read(server, drawing(0))[2])["image"]  # asked for without a browser
    for site in ("same-origin", "none"):  # its link, and an address that was typed or kept
        assert ask(server, "GET", f"/walkthrough/{image}", **{"Sec-Fetch-Site": site})[0] == 200


@pytest.mark.parametrize(
    ("body", "headers", "status", "sentence"),
    [
        (b"{}", {"Content-Type": "text/plain"}, 415, "Expected a drawing as application/json."),
        (b"{}", {"Content-Type": None}, 415, "Expected a drawing as application/json."),
        (b"", {"Content-Length": None}, 411, "Expected a Content-Length."),
        (b"", {"Content-Length": "-1"}, 411, "Expected a Content-Length."),
        (b"", {"Content-Length": "٣"}, 411, "Expected a Content-Length."),
        (b"", {"Content-Length": "262145"}, 413, "Expected at most 262,144 bytes; got 262145. Draw less."),
        (b"", {"Content-Length": "9" * 5000}, 413, f"Expected at most 262,144 bytes; got {'9' * 20}. Draw less."),
        (b"{}".ljust(MOST_BYTES), {}, 422, None),
        (b"nil", {}, 400, "Expected JSON; got other bytes (Expecting value: line 1 column 1 (char 0))."),
        (b"\xff\xfe\xfd", {}, 400, None),
        (b"[" * 200_000, {}, 400, None),
        (b'{"strokes": [[[0, 1e999]]], "width": 1}', {}, 422, None),
        (b"9" * 5000, {}, 400, None),
    ],
)  # fmt: skip
def test_what_is_no_drawing_is_refused_and_the_server_goes_on(server, body, headers, status, sentence):
    headers = {name: value and value.encode() for name, value in headers.items()}
    got = refused(read(server, body, **headers))
    assert got[0] == status
    assert sentence in (None, got[1])
    assert read(server, drawing(0))[0] == 200


@pytest.mark.parametrize(
    "path", ["/favicon.ico", "/index.html", "/../../etc/passwd", "/read", "/?", "/walkthrough", "/x/walkthrough/"]
)
def test_there_is_nothing_else(server, path):
    assert refused(ask(server, "GET", path)) == (404, f"There is nothing here. The page is {server.url}.")


def test_drawings_are_read_in_one_place(server):
    assert refused(ask(server, "POST", "/")) == (404, "There is nothing here. Drawings are read at /read.")


def test_other_methods_are_unknown(server):
    for method in ("PUT", "DELETE", "OPTIONS"):
        assert ask(server, method, "/read")[0] == 501


def test_a_connection_serves_stroke_after_stroke_without_delay(server):
    body = json.dumps(drawing(0)).encode()
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        for _ in range(20):
            connection.request("POST", "/read", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            assert (response.status, len(json.loads(response.read())["probabilities"])) == (200, 10)
        assert connection.sock is not None


def test_a_connection_is_set_for_small_answers_and_not_kept_for_ever(server, monkeypatch):
    seen, setup = [], Handler.setup

    def note(self):
        setup(self)
        no_delay = self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        seen.append((bool(no_delay), self.connection.gettimeout()))

    monkeypatch.setattr(Handler, "setup", note)
    ask(server, "GET", "/")
    assert seen == [(True, PATIENCE)]


@pytest.mark.parametrize("begun", [b"", b"POST /read HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n", None])
def test_a_silent_visitor_is_left_without_a_word(server, begun, monkeypatch, capsys):
    monkeypatch.setattr(Handler, "timeout", 0.2)
    if begun is None:  # silent in the middle of a drawing
        begun = (
            b"POST /read HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000\r\n\r\n{"
        )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as visitor:
        visitor.sendall(begun.replace(b"{port}", str(server.port).encode()))
        assert visitor.recv(1) == b""
    assert capsys.readouterr().err == ""


def test_a_visitor_who_stays_does_not_keep_the_server_from_ending(clf, monkeypatch):
    monkeypatch.setattr(Handler, "timeout", 4)
    with serving(reader_of(clf)) as server:
        visitor = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        visitor.request("GET", "/")
        visitor.getresponse().read()
        end = time.monotonic()
    assert time.monotonic() - end < 2
    visitor.close()


def test_a_port_can_be_had_again_at_once(clf):
    with serving(reader_of(clf)) as server, socket.create_connection(("127.0.0.1", server.port), 10) as visitor:
        visitor.sendall(b"GET / HTTP/1.1\r\n\r\n")  # without Host
        while visitor.recv(4096):  # until the server hangs up: then its side of the connection lingers
            pass
    with Server(server.reader, server.port) as again:
        assert again.url == server.url


def test_a_visitor_who_goes_away_is_no_error(server, capsys):
    with socket.create_connection(("127.0.0.1", server.port)) as visitor:
        visitor.sendall(
            f"POST /read HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
            "Content-Length: 1000\r\n\r\n{".encode()
        )
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset, not closed
    time.sleep(0.2)
    assert read(server, drawing(0))[0] == 200
    assert capsys.readouterr().err == ""


def test_what_nobody_thought_of_is_one_line(clf, capsys, monkeypatch):
    with serving(reader_of(clf)) as server:
        monkeypatch.setattr(server.reader.network, "look", lambda row: 1 / 0)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            read(server, drawing(0))
        monkeypatch.undo()
        assert read(server, drawing(0))[0] == 200
    assert capsys.readouterr().err == "error: ZeroDivisionError('division by zero')\n"
