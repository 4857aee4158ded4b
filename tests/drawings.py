"""Digits as hands draw them, and the page of `cnnclf app` on which they are drawn."""

import http.client
import json
import threading
import time
from contextlib import closing, contextmanager

import numpy as np
from selenium.webdriver.common.action_chains import ActionChains

from cnnclf import CNNClassifier
from cnnclf.cli._app_network import ExportedNetwork, TracedNetwork
from cnnclf.cli._app_server import Reader, Server
from cnnclf.images._spec import InputSpec
from cnnclf.images._strokes import Drawing, Paper

# How digits are written by hand, three ways each: points x,y of a box 100 high, x to the right and y down. A bar lifts
# the pen; a point that is there twice is a corner, all others are rounded. The first two ways are the common ones, the
# third is how it is written elsewhere, in haste or with a flourish.
WAYS = {
    0: [
        "35,0 8,12 0,50 10,90 35,100 60,88 68,50 58,10 35,0",
        "45,4 15,20 0,62 12,96 40,96 66,66 72,30 58,4 40,2",
        "50,2 20,0 0,30 0,70 22,100 60,98 84,66 82,28 60,2 36,6",
    ],
    1: [
        "20,0 20,50 20,100",
        "0,26 14,14 28,0 28,0 26,50 24,100",
        "34,0 22,50 8,100",
    ],
    2: [
        "4,24 16,4 42,0 60,16 56,40 30,70 2,98 2,98 34,97 68,96",
        "0,18 30,0 56,12 54,36 28,66 4,88 8,98 20,86 40,90 66,98",
        "6,30 8,8 34,0 58,14 58,36 34,64 0,100 0,100 70,100",
    ],
    3: [
        "4,14 24,0 54,6 56,30 26,46 26,46 56,56 62,80 40,100 12,98 0,84",
        "0,8 30,0 54,14 46,38 20,48 50,54 64,74 46,96 20,100 0,92",
        "2,2 56,2 56,2 24,42 24,42 54,50 60,78 40,100 4,92",
    ],
    4: [
        "10,0 4,50 4,50 64,52 | 50,4 50,50 48,100",
        "24,0 12,30 0,62 0,62 36,62 70,60 | 52,26 50,60 46,100",
        "12,4 2,40 16,56 48,46 58,2 58,2 52,50 44,100",
    ],
    5: [
        "8,2 4,44 4,44 30,36 58,50 62,78 40,98 14,98 0,86 | 8,2 62,0",
        "60,0 10,4 10,4 4,42 30,40 56,56 54,82 30,100 0,92",
        "66,2 22,0 8,22 16,42 46,52 52,78 28,98 0,90",
    ],
    6: [
        "46,0 18,24 2,64 10,92 34,100 58,86 56,62 34,54 8,72",
        "36,0 8,34 0,74 20,100 50,92 54,68 32,56 6,70",
        "56,4 26,14 4,48 6,88 32,100 54,82 46,60 22,62 8,80",
    ],
    7: [
        "0,4 60,2 60,2 40,48 22,100",
        "0,14 2,2 2,2 62,0 62,0 46,40 34,100",
        "0,4 62,0 62,0 42,46 24,100 | 16,50 62,46",
    ],
    8: [
        "52,14 28,0 6,16 16,38 46,58 58,82 32,100 6,84 14,60 46,38 52,14",
        "32,48 10,32 12,8 34,0 56,10 54,32 30,48 6,66 6,90 32,100 58,90 58,66 32,48",
        "56,8 26,2 12,22 34,46 50,68 38,96 12,94 6,72 32,48 58,26 60,6",
    ],
    9: [
        "56,14 32,0 6,14 6,40 30,50 54,34 58,10 58,10 56,50 50,100",
        "54,10 26,2 2,26 18,46 44,38 56,12 50,54 38,100",
        "52,6 24,0 2,20 12,44 40,42 56,8 58,50 52,86 28,100 6,92",
    ],
}

# Of the pad's 1000: height, left and top edge, pen; the lean of the top to the right, the breadth, how it trembles.
HANDS = {
    "plain": {"height": 700, "left": 260, "top": 150, "pen": 80, "slant": 0.0, "breadth": 1.0, "tremor": 0.0},
    "small, in a corner": {
        "height": 300, "left": 90, "top": 620, "pen": 60, "slant": 0.25, "breadth": 0.8, "tremor": 0.0,
    },
    "large, thin": {"height": 900, "left": 120, "top": 50, "pen": 30, "slant": -0.1, "breadth": 1.1, "tremor": 0.0},
    "unsteady": {"height": 600, "left": 250, "top": 200, "pen": 80, "slant": 0.1, "breadth": 0.9, "tremor": 2.5},
}  # fmt: skip


def rounded(points):
    """Cut the corners three times (Chaikin 1974), but for the ends and for points that are there twice."""
    for _ in range(3):
        a, b = points[:-1], points[1:]
        cut = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], cut, points[-1:]])
    return points


def drawing(digit, way=0, hand="plain"):
    """Give one drawing, as the page sends it."""
    how, rng = HANDS[hand], np.random.default_rng([digit, way])
    strokes = []
    for stroke in WAYS[digit][way].split(" | "):
        x, y = rounded(np.array([point.split(",") for point in stroke.split()], dtype=float)).T
        x, y = (axis + how["tremor"] * rng.uniform(-1, 1, len(axis)) for axis in (x, y))
        x = how["breadth"] * x + how["slant"] * (100 - y)
        placed = np.stack([how["left"] + x * how["height"] / 100, how["top"] + y * how["height"] / 100], axis=1)
        strokes.append(np.rint(placed).clip(0, 1000).astype(int).tolist())
    return {"strokes": strokes, "width": how["pen"]}


def drawings():
    """Give (digit, drawing) of every way and every hand: 120."""
    return [
        (digit, drawing(digit, way, hand)) for digit, ways in WAYS.items() for way in range(len(ways)) for hand in HANDS
    ]


OF_MNIST = InputSpec((28, 28), (1, 28, 28), False, "uint8", 255, (33.3,), (78.6,))
MNIST = Paper.of(OF_MNIST)
DIGITS = Paper.of(InputSpec((8, 8), (1, 8, 8), False, "uint8", 16, (4.9,), (6.0,)))


def put(told, paper=MNIST):
    return paper.place(Drawing.from_json(told))


def reader_of(clf):
    network = TracedNetwork(clf) if isinstance(clf, CNNClassifier) else ExportedNetwork(clf)
    return Reader(network, Paper.of(clf.input_spec_), "The network is <small>.")


@contextmanager
def serving(reader):
    with Server(reader) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, method, path, body=None, headers=(), **more):
    """Send a request just so, and give its status, its headers and its content."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        named = {"Host": f"127.0.0.1:{server.port}"} | dict(headers) | more
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in named.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def read(server, told, **headers):
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    named = {"Content-Type": "application/json", "Content-Length": str(len(body))} | headers
    return ask(server, "POST", "/read", body, named)


class Page:
    """The page in a browser, and a hand on its pad."""

    def __init__(self, driver, url):
        self.driver = driver
        driver.get(url)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def text(self, name):
        return self.run("return document.getElementById(arguments[0]).textContent", name)

    def ink(self, name):
        """How many pixels of a canvas have ink."""
        script = """const canvas = document.getElementById(arguments[0]);
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
        copy.drawImage(canvas, 0, 0);
        const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
        return data.filter((_, i) => i % 4 === 3 && data[i] > 0).length;"""
        return self.run(script, name)

    def places(self, stroke):
        left, top, side = self.run(
            "const box = document.getElementById('pad').getBoundingClientRect(); return [box.left, box.top, box.width]"
        )
        return [{"x": left + x * side / 1000, "y": top + y * side / 1000} for x, y in stroke]

    def draw(self, told):
        """Draw with the mouse, by every third point; the browser makes pointer events of it, as of a real one."""
        for stroke in told["strokes"]:
            first, *others = self.places([*stroke[:-1:3], stroke[-1]])
            for kind, place in [("Pressed", first), *(("Moved", place) for place in others), ("Released", others[-1])]:
                event = {"type": f"mouse{kind}", "button": "left", "buttons": 1, "clickCount": 1}
                self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event | place)

    def touch(self, told):
        """Draw with a finger."""
        for stroke in told["strokes"]:
            for i, place in enumerate(self.places(stroke)):
                event = {"type": "touchMove" if i else "touchStart", "touchPoints": [place]}
                self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def wait_for(self, name, text):
        end = time.monotonic() + 10
        while self.text(name) != text:
            assert time.monotonic() < end, f"{name} is {self.text(name)!r} and not {text!r}"
            time.sleep(0.02)

    def press(self, *keys):
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def press_with(self, modifier, key):
        ActionChains(self.driver, duration=0).key_down(modifier).send_keys(key).key_up(modifier).perform()

    def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        touch = {"enabled": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", touch)


def online(driver):
    """Give the browser a network: without one it does not find this machine either."""
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)
