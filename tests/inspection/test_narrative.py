"""What the walkthrough promises: true equations, aligned matrices, the same bytes each time, nothing left unsaid."""

import re
import subprocess
import sys
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cnnclf import CNNClassifier
from cnnclf.architectures._modules import Residual, Standardise
from cnnclf.inspection._arithmetic import sum_up
from cnnclf.inspection._items import Arithmetic, Matrix
from cnnclf.inspection._latex import latex_equation, to_latex
from cnnclf.inspection._narrative import narrate
from cnnclf.inspection._text import shade, text_item, text_matrix, to_markdown, to_text
from cnnclf.inspection._trace import Trace
from helpers import sequential

GOLDEN = Path(__file__).parent / "golden"
RENDERINGS = {"txt": to_text, "md": to_markdown, "tex": to_latex}
LINE = 110
AWKWARD = ["50% & more_", "a|b `c` *d* $e$ <b>[l](u)", "{é猫} \\ ~^#\x1b[31m\n1. x"]


def filled(layer, **parameters):
    """The layer with parameters and buffers set by hand."""
    tensors = {name: torch.tensor(value, dtype=torch.float32) for name, value in parameters.items()}
    layer.load_state_dict({**layer.state_dict(), **tensors})
    return layer


def standardise(*, mean, std):
    return Standardise(torch.tensor(mean), torch.tensor(std))


def grey():
    """A plain net whose every number is a small multiple of 1/64, so that float32 is exact in any order.

    standardised (p − 8)/4    conv1[0] = x[i,j] − x[i+1,j+1] + ½ = −6/4 + ½ = −1 everywhere
       −2    −1¾  −1½  −1¼ −1   conv1[1] = ½(x[i,j+1] − x[i,j]) + ¼(x[i+1,j] + x[i+1,j+1]) − ¼
       −¾    −½   −¼    0   ¼            = ⅛ + ½·x[i+1,j] + 1/16 − ¼ = ½·x[i+1,j] − 1/16
        ½     ¾    1    1¼  1½   rows −7/16 −5/16 −3/16 −1/16 | 3/16 … 9/16 | 13/16 15/16 17/16 19/16
        1¾    2    2¼   2½  2¾  pool1    [−1 −1], [5/16 9/16]: of the first two rows, two columns each
                                norm1    (x − μ)/√(3¾ + ¼)·γ + β = (x + 1)/2·1 + ½ = ½ | (x − 1/16)/2·2 + 0 = ¼, ½
                                output   0: 2·½ + 0·½ + 1·¼ + 1·½ + ¼ = 2;  1: 0·½ + 1·½ − 1·¼ − ½·½ + 1 = 1
    """
    return sequential(
        standardise=standardise(mean=[8.0], std=[4.0]),
        conv1=filled(
            nn.Conv2d(1, 2, 2), weight=[[[[1, 0], [0, -1]]], [[[-0.5, 0.5], [0.25, 0.25]]]], bias=[0.5, -0.25]
        ),
        pool1=nn.MaxPool2d(2),
        norm1=filled(
            nn.BatchNorm2d(2, eps=0.25),
            weight=[1, 2],
            bias=[0.5, 0],
            running_mean=[-1, 0.0625],
            running_var=[3.75, 3.75],
        ),
        relu1=nn.ReLU(),
        flatten1=nn.Flatten(),
        output=filled(nn.Linear(4, 2), weight=[[2, 0, 1, 1], [0, 1, -1, -0.5]], bias=[0.25, 1]),
    )


def colour():
    """Everything else: three channels, a residual block, a block, a layer that is not known, averages, dropout."""
    corners = np.zeros((3, 1, 3, 3))
    corners[:, 0, 0, 0], corners[:, 0, 2, 2] = 0.5, -0.25
    return sequential(
        standardise=standardise(mean=[8.0, 16.0, 64.0], std=[16.0, 8.0, 4.0]),
        res1=Residual(
            sequential(conv=filled(nn.Conv2d(3, 3, 3, padding=2, dilation=2, groups=3, bias=False), weight=corners))
        ),
        res2=Residual(
            sequential(conv=filled(nn.Conv2d(3, 2, 1, stride=2), weight=np.full((2, 3, 1, 1), 0.25), bias=[1, -1])),
            filled(nn.Conv2d(3, 2, 1, stride=2, bias=False), weight=np.full((2, 3, 1, 1), [[[[0.5]]], [[[-0.5]]]])),
        ),
        block1=sequential(pool=nn.AvgPool2d((1, 2)), relu=nn.ReLU()),
        tanh1=nn.Hardtanh(-1, 2),
        mean1=nn.AdaptiveAvgPool2d(1),
        flatten1=nn.Flatten(),
        dropout1=nn.Dropout(0.5),
        output=filled(nn.Linear(2, 3), weight=[[1, 2], [3, -4], [0.5, 0.25]], bias=[0, 1, 2]),
    )


def record(net, image, classes):
    return Trace.record(net.eval(), np.asarray(image), np.asarray(classes))


def ramp(*shape):
    return np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)


def random_net(**layers):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return sequential(
            standardise=standardise(mean=[100.0], std=[50.0]), **{k: make() for k, make in layers.items()}
        )


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.fixture(scope="module")
def default_net(few_digits):
    X, y, _, _ = few_digits
    return CNNClassifier(max_epochs=1, random_state=0).fit(X, y)


@pytest.fixture(scope="module")
def traces(default_net, few_digits):
    return {
        "grey": record(grey(), ramp(1, 4, 5), ["few", "many"]),
        "colour": record(colour(), ramp(3, 4, 8), AWKWARD),
        "default": default_net.trace(few_digits[2][0]),
        "flat": record(
            random_net(
                conv1=lambda: nn.Conv2d(1, 8, (1, 15)),
                relu1=nn.ReLU,
                flatten1=nn.Flatten,
                norm1=lambda: nn.BatchNorm1d(400),
                output=lambda: nn.Linear(400, 2),
            ),
            noise(1, 1, 64),
            [False, True],
        ),
        "large": record(
            random_net(
                conv1=lambda: nn.Conv2d(1, 24, 7, bias=False),
                conv2=lambda: nn.Conv2d(24, 6, 3, padding=1),
                pool1=lambda: nn.MaxPool2d(9, stride=3, padding=4),
                mean1=lambda: nn.AdaptiveAvgPool2d(1),
                flatten1=nn.Flatten,
                output=lambda: nn.Linear(6, 300),
            ),
            noise(1, 66, 80).astype(np.float32) * 300,
            np.arange(300),
        ),
        "one": record(
            random_net(flatten1=nn.Flatten, output=lambda: nn.Linear(1, 1), softmax1=lambda: nn.Softmax(1)),
            noise(1, 1, 1),
            ["only"],
        ),
    }


NETS = ["grey", "colour", "default", "flat", "large", "one"]


@pytest.mark.parametrize("rendering", RENDERINGS)
@pytest.mark.parametrize("net", ["grey", "colour"])
def test_golden(net, rendering, traces, request):
    path = GOLDEN / f"{net}.{rendering}"
    written = RENDERINGS[rendering](traces[net])
    if request.config.getoption("--rewrite-golden"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(written.encode())
    assert written == path.read_bytes().decode()


def test_the_grey_net_tells_what_was_derived_by_hand(traces):
    text = to_text(traces["grey"])
    assert traces["grey"].logits.tolist() == [2, 1]
    for told in (
        "(19 - 8.0000)/4.0000 = 2.7500",
        "height: ⌊(4 + 2×0 - 2) / 1⌋ + 1 = 3\n  width: ⌊(5 + 2×0 - 2) / 1⌋ + 1 = 4\n",
        # Sixteenths: −7 −5 −3 −1, 3 5 7 9, 13 15 17 19.
        "0 │ -0.44 -0.31 -0.19 -0.06\n1 │  0.19  0.31  0.44  0.56\n2 │  0.81  0.94  1.06 [1.19]\n",
        # The patch is the lower right corner of the image, standardised.
        "2 │ 1.2500 1.5000    0 │ -0.5000 0.5000\n3 │ 2.5000 2.7500    1 │  0.2500 0.2500\n",
        "  -0.5000×1.2500 + 0.5000×1.5000 = 0.1250\n",
        "  0.1250 + 0.2500×2.5000 + 0.2500×2.7500 + (-0.2500) = 1.1875\n",
        "max(-0.1875, -0.0625, 0.4375, 0.5625) = 0.5625",
        "√(3.7500 + 0.25) = 2.0000",
        "feature 0: 2.0000×0.5000 = 1.0000",
        # e⁰/(e⁰ + e⁻¹) = 1/1.3679 = 0.7311, which the printed 1.3679 misses by a digit.
        "1.0000/1.3679 + 0.0001 (rounding) = 0.7311",
        # Differences of weights times features: 2·½, −1·½, 2·¼, 1½·½; biases ¼ − 1; logits 2 − 1.
        "1.0000 (feature 0 from 0, 0, 0) + 0.7500 (feature 3 from 1, 0, 1) + (-0.5000) (feature 1 from 0, 0, 1)\n",
        "      + 0.5000 (feature 2 from 1, 0, 0) + (-0.7500) (bias) = 1.0000\n",
    ):
        assert told in text


NOTE = re.compile(r" \((rounding|bias|the other \d+|channel \d+|feature \d+( from \d+, \d+, \d+)?)\)")
NUMBER = re.compile(r"\d+(\.\d+)?")


def evaluate(expression):
    """The exact value of what is printed; a small world of its own, that knows decimals and nothing of the package."""
    for sign, python in (("×", "*"), ("⌊", "floor("), ("⌋", ")"), ("√", "sqrt")):
        expression = expression.replace(sign, python)
    world = {
        "__builtins__": {},
        "D": Decimal,
        "floor": lambda x: x.to_integral_value(ROUND_FLOOR),
        "sqrt": Decimal.sqrt,
        "exp": Decimal.exp,
        "max": max,
    }
    return eval(NUMBER.sub(lambda number: f"D('{number[0]}')", expression), world)


def is_true(equation):
    left, right = NOTE.sub("", equation).rsplit(" = ", 1)
    value = Decimal(right)
    unit = Decimal(1).scaleb(value.as_tuple().exponent)
    return 2 * abs(evaluate(left.split(": ")[-1]) - value) < unit


def equations(text):
    """Indented lines with what goes on below them: in text, and in the fences of Markdown."""
    joined = re.sub(r"\n +(?=[+=] |\S+[,)])", lambda gap: " " if len(gap[0]) > 6 else gap[0], text)
    return [line.strip() for line in joined.splitlines() if re.match(r"^ {2,}.*[\d)] = -?\d", line)]


def latex_equations(text):
    for line in re.findall(r"\$([^$]* = [^$]*)\$", text):
        line = re.sub(r"\\text\{([^}]*)\}", r"\1", line).replace("\\allowbreak ", " ").replace("\\ ", " ")
        yield re.sub(r"\\sqrt\{([^}]*)\}", r"√(\1)", line)


@pytest.mark.parametrize("net", NETS)
def test_every_equation_adds_up_in_every_rendering(net, traces):
    found = equations(to_text(traces[net]))
    assert len(found) >= len(traces[net].steps)
    assert [equation for equation in found if not is_true(equation)] == []
    assert equations(to_markdown(traces[net])) == found
    assert list(latex_equations(to_latex(traces[net]))) == found


@pytest.mark.parametrize("net", NETS)
def test_rounding_terms_hide_nothing(net, traces):
    # A printed number is off by half a unit of its last digit at most, and a product by that much times either factor.
    for equation in equations(to_text(traces[net])):
        rounding = re.search(r"\+ \(?(-?[\d.]+)\)? \(rounding\)", equation)
        if rounding and not re.search(r"/|√|exp", equation):
            sizes = [float(number[0]) for number in NUMBER.finditer(NOTE.sub("", equation.split(": ")[-1]))]
            assert abs(float(rounding[1])) <= 0.00005 * (1 + sum(max(1, size) for size in sizes))


def test_a_group_of_channels_is_called_by_its_own_numbers():
    # Four channels in two groups; kernel 1 sees channels 2 and 3, in their last corners 11 and 15: 1·11 + 2·15 = 41.
    net = sequential(
        conv1=filled(nn.Conv2d(4, 2, 1, groups=2, bias=False), weight=[[[[1]], [[1]]], [[[1]], [[2]]]]),
        flatten1=nn.Flatten(),
    )
    text = to_text(record(net, ramp(4, 2, 2).astype(np.float32), range(8)))
    assert (
        "The arithmetic of the largest number, channel 1, row 1, column 1:\n"
        "patch of channel 3   kernel 1 for channel 3\n"
        "          1                   0\n"
        "1 │ 15.0000          0 │ 2.0000\n"
        "\n"
        "  1.0000×11.0000 + 2.0000×15.0000 = 41.0000\n"
    ) in text


def test_where_a_feature_comes_from():
    image = np.zeros((2, 3, 4), dtype=np.uint8)
    image[1, 2, 1] = 9
    text = to_text(record(sequential(flatten1=nn.Flatten()), image.astype(np.float32), range(24)))
    # Channel 1 comes after 3·4 features, row 2 after two more rows of 4.
    assert "channel 1, row 2, column 1:\n  1×12 + 2×4 + 1 = 21\n" in text
    assert "\nWhy 21" not in text  # no weights lead to these logits


def test_the_reader_of_equations_tells_true_from_false():
    assert is_true("feature 3: -0.5×(-0.5) + 0.01 (bias) = 0.26")
    assert is_true("√(2.0) = 1.41")
    assert is_true("max(-1.0, 0) = 0.0")
    assert not is_true("0.5×0.5 = 0.26")
    assert not is_true("0.5×0.5 = 0.2")  # a tie is not left to the reader
    assert not is_true("0.1 (channel 0) + 0.1 (the other 3) + 0.1 (rounding) = 0.2")


def test_a_sum_that_rounding_would_break_is_closed():
    # 0.33335 + 0.33335 = 0.6667 is printed 0.3333 + 0.3333 (both are below the tie in binary).
    assert sum_up([(0.33335, "bias"), (0.33335, "bias")], 0.6667, 4) == (
        "0.3333 (bias) + 0.3333 (bias) + 0.0001 (rounding) = 0.6667"
    )
    assert sum_up([(-0.5, "bias"), (-0.25, "bias")], -0.75, 4) == "-0.5000 (bias) + (-0.2500) (bias) = -0.7500"


@pytest.mark.parametrize("net", NETS)
def test_lines_fit_and_end_clean(net, traces):
    for rendering in (to_text, to_markdown):
        written = rendering(traces[net])
        assert written.endswith("\n")
        fenced = "".join(re.findall(r"```text\n(.*?)```", written, re.DOTALL)) if rendering is to_markdown else written
        assert max(map(len, fenced.splitlines())) <= LINE
        assert all(line == line.rstrip() for line in written.splitlines())
        assert all(c.isprintable() or c == "\n" for c in written)


def test_the_default_net_can_be_scrolled_through(traces):
    assert len(to_text(traces["default"]).splitlines()) <= 600


def ends(line):
    """Where the words of a line end, brackets and row labels left aside."""
    return {word.end() for word in re.finditer(r"\S+", re.sub(r"-?\d+ │|[\[\]]", lambda m: " " * len(m[0]), line))}


@pytest.mark.parametrize("net", NETS)
def test_matrices_are_aligned(net, traces):
    lines = to_text(traces[net]).splitlines()
    heads = [i for i in range(len(lines) - 1) if "│" in lines[i + 1] and "│" not in lines[i]]
    assert heads
    for head in heads:
        rows = lines[head + 1 : lines.index("", head)]
        assert len({row.index("│") for row in rows}) == 1
        assert all(ends(row) <= ends(lines[head]) for row in rows)
        assert ends(rows[0]) == ends(lines[head])


@pytest.mark.parametrize("net", ["grey", "colour", "default"])
def test_two_runs_give_the_same_bytes(net, traces):
    again = Trace.record(traces[net]._module, traces[net].image, traces[net].classes)
    for rendering in RENDERINGS.values():
        assert rendering(again) == rendering(traces[net])


@pytest.mark.parametrize("net", NETS)
def test_every_layer_is_told_in_order(net, traces):
    trace = traces[net]
    headings = [section.heading for section in narrate(trace)]
    named = [re.match(r"\d+\. (\S+) – ", heading)[1] for heading in headings if re.match(r"\d+\. ", heading)]
    assert named == [step.name for step in trace.walk()]


def test_what_is_left_out_is_said(traces):
    large = to_text(traces["large"])
    assert "; 32 of 66 rows and " in large  # of the image
    assert "; 12 of 60 rows and 12 of 74 columns are shown:" in large  # of the first map
    assert "; 6 of 30 rows and 10 of 10 columns are shown:" in large  # of 300 logits, in rows of ten
    assert "Of the 24 input channels, channel " in large
    assert "(the other 18)" in large  # channels, besides the 6 that count most
    assert "\nthe other 280 " in large  # classes, besides the 20 likeliest
    flat = to_text(traces["flat"])
    assert re.search(r"Kernel of 1×15; 1 of 1 rows and \d+ of 15 columns are shown:", flat)


def test_inner_layers_are_indented_and_unknown_ones_marked(traces):
    text = to_text(traces["colour"])
    assert "\n3. res1.conv" not in text
    assert "\n  3. res1.conv – Conv2d 3×3, padding 2, 3×4×8 → 3×4×8\n  ---" in text
    assert "\n2. res1 – Residual, 3×4×8 → 3×4×8\n" in text
    assert "the output of the residual branch plus the output of the shortcut." in text  # res2
    assert "the output of the residual branch plus the input." in text  # res1
    (unknown,) = (section for section in narrate(traces["colour"]) if "Hardtanh" in section.heading)
    assert unknown.items[0].text.startswith("Not recomputed:")
    assert not any(isinstance(item, Arithmetic) for item in unknown.items)
    assert any(isinstance(block, Matrix) for item in unknown.items for block in getattr(item, "blocks", ()))


def test_markdown_shows_labels_as_they_are(traces):
    # CommonMark: a backslash before ASCII punctuation gives that sign.
    markdown = to_markdown(traces["colour"])
    assert r"| 50% \& more\_ |" in markdown
    assert r"| a\|b \`c\` \*d\* \$e\$ \<b\>\[l\](u) |" in markdown
    assert "| \\{é猫\\} \\\\ \\~^\\#\N{REPLACEMENT CHARACTER}\\[31m 1. x |" in markdown
    assert markdown.count("```") % 2 == 0


def test_latex_is_whole_and_knows_every_character(traces):
    for trace in traces.values():
        latex = to_latex(trace)
        stack = []
        for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", latex):
            if kind == "begin":
                stack.append(name)
            else:
                assert stack.pop() == name
        assert stack == []
        bare = re.sub(r"\\[\\{}$&%#_]", "", latex)
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0
        assert "#" not in bare.replace("#1", "")
        declared = {chr(int(code, 16)) for code in re.findall(r"DeclareUnicodeCharacter\{(\w+)\}", latex)}
        assert {c for c in latex if not c.isascii()} <= declared | set("é–")
    assert r"50\% \& more\_" in to_latex(traces["colour"])
    assert r"\{é[U+732B]\} \textbackslash{} \textasciitilde{}\textasciicircum{}\#[U+FFFD][31m" in to_latex(
        traces["colour"]
    )


def test_an_equation_in_latex():
    assert latex_equation("√(0.30 + 0.00001) = 0.55") == r"$\sqrt{0.30 + 0.00001} = 0.55$"
    assert latex_equation("feature 3: max(0, 1.5×2.0) + (-0.1) (rounding) = 2.9") == (
        r"$\text{feature 3}: \text{max}(0,\allowbreak 1.5×2.0) + (-0.1)\ (\text{rounding}) = 2.9$"
    )


def test_a_long_equation_goes_on_below_itself():
    line = f"max({', '.join(['0.1250'] * 9)}) = 0.1250"
    assert text_item(Arithmetic((line,)), 60) == [
        "  max(0.1250, 0.1250, 0.1250, 0.1250, 0.1250, 0.1250,",
        "      0.1250, 0.1250, 0.1250) = 0.1250",
    ]
    assert text_item(Arithmetic(("1.0 (channel 7) + 2.0 + 0.1 (rounding) = 3.1",)), 30) == [
        "  1.0 (channel 7) + 2.0",
        "      + 0.1 (rounding) = 3.1",
    ]


def test_a_matrix_marks_one_number():
    matrix = Matrix("", (("1", "-2.5"), ("·", "10")), ("8", "9"), ("0", "1"), marked=(1, 1))
    assert text_matrix(matrix) == ["    0    1", "8 │ 1 -2.5", "9 │ ·  [10]"]


@pytest.mark.parametrize(
    ("top", "bottom", "drawn"),
    [(0, 0, " "), (0.2, 0.3, "░"), (0.5, 0.5, "▒"), (0.7, 0.7, "▓"), (1, 1, "█"), (1, 0, "▀"), (0.2, 0.9, "▄")],
)
def test_one_character_draws_two_pixels(top, bottom, drawn):
    assert shade(top, bottom) == drawn


def test_is_loaded_without_torch():
    program = (
        "import cnnclf.inspection._text, cnnclf.inspection._latex, sys; "
        "sys.exit('torch' in sys.modules or 'cnnclf.inspection._trace' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
