"""Digits as hands draw them, and the page of a network on which they are drawn."""

import time

import numpy as np
from selenium.webdriver.common.action_chains import ActionChains

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
    """Return the strokes of one drawing, points of 0 to 1000, and the width of its pen."""
    how, rng = HANDS[hand], np.random.default_rng([digit, way])
    strokes = []
    for stroke in WAYS[digit][way].split(" | "):
        x, y = rounded(np.array([point.split(",") for point in stroke.split()], dtype=float)).T
        x, y = (axis + how["tremor"] * rng.uniform(-1, 1, len(axis)) for axis in (x, y))
        x = how["breadth"] * x + how["slant"] * (100 - y)
        placed = np.stack([how["left"] + x * how["height"] / 100, how["top"] + y * how["height"] / 100], axis=1)
        strokes.append(np.rint(placed).clip(0, 1000).astype(int).tolist())
    return strokes, how["pen"]


def drawings():
    """Return (digit, strokes, pen) of every way and every hand: 120."""
    return [
        (digit, *drawing(digit, way, hand))
        for digit, ways in WAYS.items()
        for way in range(len(ways))
        for hand in HANDS
    ]


class Page:
    """The page of a network in a browser, and a hand on its pad."""

    def __init__(self, driver, path):
        self.driver = driver
        driver.get("about:blank")
        driver.get(path.as_uri())

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def text(self, name):
        return self.run("return document.getElementById(arguments[0]).textContent", name)

    def click(self, name):
        self.run("document.getElementById(arguments[0]).click()", name)

    def choose(self, tool):
        self.run("document.querySelector(`[data-tool=${arguments[0]}]`).click()", tool)

    def pixels(self):
        """Return the raw pixels that the network has, channels first, in one row."""
        return np.array(self.run("return [...drawing.pixels]"))

    def places(self, stroke):
        left, top, side = self.run(
            "const box = document.getElementById('pad').getBoundingClientRect(); return [box.left, box.top, box.width]"
        )
        return [{"x": left + x * side / 1000, "y": top + y * side / 1000} for x, y in stroke]

    def draw(self, strokes):
        """Draw with the mouse, by every third point; the browser makes pointer events of it, as of a real one."""
        for stroke in strokes:
            first, *others = self.places([*stroke[:-1:3], stroke[-1]])
            for kind, place in [("Pressed", first), *(("Moved", place) for place in others), ("Released", others[-1])]:
                event = {"type": f"mouse{kind}", "button": "left", "buttons": 1, "clickCount": 1}
                self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event | place)

    def touch(self, strokes):
        """Draw with a finger."""
        for stroke in strokes:
            for i, place in enumerate(self.places(stroke)):
                event = {"type": "touchMove" if i else "touchStart", "touchPoints": [place]}
                self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def wait_for(self, name, text):
        end = time.monotonic() + 20
        while self.text(name) != text:
            assert time.monotonic() < end, f"{name} is {self.text(name)!r} and not {text!r}"
            time.sleep(0.02)

    def settle(self):
        """Wait until the worker has answered everything."""
        end = time.monotonic() + 20
        while self.run("return isAsking"):
            assert time.monotonic() < end
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
