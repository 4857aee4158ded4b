"""What a workbook promises: computed anew by another engine, changed pixels included, it says what the network says."""

import copy
import re
import sys
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from cnnclf.architectures._modules import Residual, Standardise
from cnnclf.architectures._table import find_architecture
from cnnclf.inspection._trace import Trace
from cnnclf.inspection._xlsx import write

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import formulas
    import openpyxl

# openpyxl does not read the bars of the softmax, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:.* extension is not supported and will be removed:UserWarning")


def standardise(n_channels=1):
    return Standardise(torch.linspace(90.0, 120.0, n_channels), torch.linspace(60.0, 70.0, n_channels))


def layers(**named):
    return nn.Sequential(OrderedDict(named))


def used(norm):
    """A batch norm that has seen data."""
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    norm.weight.data.normal_()
    norm.bias.data.normal_()
    return norm


def plain():
    return layers(
        standardise=standardise(),
        conv1=nn.Conv2d(1, 2, 3, padding=1),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        flatten1=nn.Flatten(),
        dropout1=nn.Dropout(0.5),
        output=nn.Linear(8, 3),
    )


def strided_dilated_and_grouped():
    return layers(
        standardise=standardise(2),
        conv1=nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(2, 1), groups=2, bias=False),
        norm1=used(nn.BatchNorm2d(4)),
        conv2=nn.Conv2d(4, 2, 2, dilation=(2, 3), padding=3),
        pool1=nn.MaxPool2d(3, stride=2, padding=1),
        pool2=nn.AvgPool2d((2, 1)),
        flatten1=nn.Flatten(),
        output=nn.Linear(16, 2),
    )


def residual():
    body = layers(conv1=nn.Conv2d(3, 2, 3, padding=1), norm1=used(nn.BatchNorm2d(2)))
    inner = Residual(layers(relu1=nn.ReLU()))
    return layers(
        standardise=standardise(3),
        block1=Residual(body, nn.Conv2d(3, 2, 1)),
        block2=layers(inner=inner, conv2=nn.Conv2d(2, 3, 1)),
        pool1=nn.AdaptiveAvgPool2d(1),
        flatten1=nn.Flatten(),
        output=nn.Linear(3, 2),
    )


def rows():
    return layers(
        standardise=standardise(),
        flatten1=nn.Flatten(),
        dense1=nn.Linear(6, 4, bias=False),
        norm1=used(nn.BatchNorm1d(4)),
        norm2=nn.BatchNorm1d(4, affine=False),
        relu1=nn.ReLU(),
        softmax=nn.Softmax(dim=1),
        output=nn.Linear(4, 3),
    )


def activated():
    steep = Standardise(torch.tensor([100.0]), torch.tensor([0.1]))  # numbers up to 1,550: a power of e overflows
    acts = {
        "leaky": nn.LeakyReLU(0.2),
        "silu": nn.SiLU(),
        "gelu": nn.GELU(),
        "tanh": nn.Tanh(),
        "sigmoid": nn.Sigmoid(),
    }
    return layers(
        standardise=steep,
        block1=Residual(layers(sigmoid1=nn.Sigmoid()), nn.SiLU()),
        **acts,
        pool1=nn.AdaptiveMaxPool2d(1),
        flatten1=nn.Flatten(),
        output=nn.Linear(1, 3),
    )


NETS = {
    "plain": (plain, (1, 4, 5)),
    "strided, dilated and grouped": (strided_dilated_and_grouped, (2, 5, 4)),
    "residual": (residual, (3, 3, 4)),
    "rows": (rows, (1, 1, 6)),
    "activated": (activated, (1, 3, 4)),
}
CLASSES = np.array(["=1+1", "<b>&'", "5"])


def trace_of(name):
    build, shape = NETS[name]
    torch.manual_seed(0)
    image = np.random.default_rng(0).integers(0, 256, size=shape).astype(np.float32 if name == "rows" else np.uint8)
    module = build().eval()
    n_classes = module[-1].out_features
    return Trace.record(module, image, CLASSES[:n_classes])


class Recalculated:
    """A workbook as another engine computes it, after changes {(sheet, cell): number}."""

    def __init__(self, path, changes=()):
        self.book = openpyxl.load_workbook(path)
        model = formulas.ExcelModel().loads(str(path)).finish()
        self.prefix = f"[{path.name}]"
        changes = {self.key(*where): number for where, number in dict(changes).items()}
        self.solution = model.calculate(inputs=changes)

    def key(self, sheet, cell):
        return f"'{self.prefix}{sheet.upper()}'!{cell}"

    def __getitem__(self, place):
        return self.solution[self.key(*place)].value[0, 0]

    def output(self, sheet, shape):
        """The values under the titles "channel 0", …, or in the column under the title "value" or "probability"."""
        if len(shape) == 1:
            top, *_ = find(self.book[sheet], "value|probability")
            cells = [top.offset(1 + i) for i in range(shape[0])]
        else:
            # A table has a header that reads just "channel".
            tops = find(self.book[sheet], r"channel \d+")
            cells = [top.offset(1 + i, j) for top in tops for i in range(shape[1]) for j in range(shape[2])]
        return np.array([self[sheet, cell.coordinate] for cell in cells], float).reshape(shape)


def find(sheet, pattern):
    """All cells above numbers whose text matches; the table's own header is the row of the first of them."""
    texts = [cell for row in sheet.iter_rows(min_row=4) for cell in row if isinstance(cell.value, str)]
    found = [cell for cell in texts if re.fullmatch(pattern, cell.value)]
    return sorted(found, key=lambda cell: int((re.search(r"\d+", cell.value) or [0])[0]))


def in_float64(module, image):
    """Every layer's output by torch in float64, blocks included."""
    module = copy.deepcopy(module).double()
    outputs = {}

    def keep(name):
        def hook(_layer, _inputs, output):
            outputs[name.replace(".body", "")] = output[0].numpy()

        return hook

    for name, layer in module.named_modules():
        if name and not name.endswith(".body"):
            layer.register_forward_hook(keep(name))
    with torch.inference_mode():
        logits = module(torch.from_numpy(image[np.newaxis]).double())
    outputs["softmax of the logits"] = logits.softmax(dim=1)[0].numpy()
    return outputs


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("n_changes", [0, 3])
def test_recalculated_by_another_engine_every_layer_is_torchs_in_float64(tmp_path, name, n_changes):
    trace = trace_of(name)
    path = write(trace, tmp_path / "net.xlsx")
    image = trace.image.copy()
    corner = find(openpyxl.load_workbook(path)["image"], r"channel \d+")
    changes = {}
    for channel, row, column in np.argwhere(image >= 0)[:: image.size // 3][:n_changes].tolist():
        image[channel, row, column] = 255 - image[channel, row, column]
        cell = corner[channel].offset(1 + row, column).coordinate
        changes["image", cell] = int(image[channel, row, column])

    workbook = Recalculated(path, changes)

    expected = in_float64(trace._module, image)
    probabilities = expected.pop("softmax of the logits")
    expected.pop("block2", None)  # layers one after the other: what leaves the last leaves the block
    for layer, output in expected.items():
        np.testing.assert_allclose(workbook.output(layer, output.shape), output, rtol=0, atol=1e-9, err_msg=layer)
    last = trace.steps[-1].name
    np.testing.assert_allclose(workbook.output(last, probabilities.shape), probabilities, rtol=0, atol=1e-9)
    label = trace.classes[probabilities.argmax()]
    assert workbook[last, "G6"] == workbook["read me first", "B5"] == label
    assert workbook["read me first", "B6"] == pytest.approx(probabilities.max(), abs=1e-9)
    assert workbook["image", "E3"] == f"Prediction: {label} ({round(100 * probabilities.max(), 2):g} %)"


def brighter_side():
    """Says on which side of two pixels there is more light: logits x₀ and x₁."""
    net = layers(standardise=Standardise(torch.tensor([0.0]), torch.tensor([100.0])), flatten1=nn.Flatten())
    net.add_module("output", nn.Linear(2, 2, bias=False))
    net.output.weight.data = torch.eye(2)
    return Trace.record(net, np.array([[[200, 100]]], np.uint8), np.array(["left", "right"]))


def test_a_changed_pixel_changes_the_prediction(tmp_path):
    path = write(brighter_side(), tmp_path / "net.xlsx")

    # Logits 2 and 1, and 2 and 2.5.
    before, after = Recalculated(path), Recalculated(path, {("image", "B6"): 250})

    assert before["read me first", "B5"] == "left"
    assert before["read me first", "B6"] == pytest.approx(1 / (1 + np.exp(-1)))
    assert after["read me first", "B5"] == "right"
    assert after["read me first", "B6"] == pytest.approx(1 / (1 + np.exp(-0.5)))


def test_the_formulas_are_those_a_reader_would_write(tmp_path):
    conv = nn.Conv2d(1, 1, 3, padding=1)
    net = layers(conv1=conv, pool1=nn.MaxPool2d(2), relu1=nn.ReLU(), flatten1=nn.Flatten(), output=nn.Linear(1, 2))
    trace = Trace.record(net, np.ones((1, 2, 2), np.float32), np.array([0, 1]))

    book = openpyxl.load_workbook(write(trace, tmp_path / "net.xlsx"))

    # The kernel is at A6:C8, the bias at E6 and the map at G6:H7. Upper left, the kernel's first row and first column
    # lie on padding: its other four weights, B7:C8, are multiplied with the image's four pixels, A6:B7.
    assert book["conv1"]["G6"].value == "=SUMPRODUCT('image'!A6:B7,$B$7:$C$8)+$E$6"
    assert book["conv1"]["H7"].value == "=SUMPRODUCT('image'!A6:B7,$A$6:$B$7)+$E$6"
    assert book["pool1"]["A6"].value == "=MAX('conv1'!G6:H7)"
    assert book["relu1"]["A6"].value == "=MAX(0,'pool1'!A6)"
    assert book["flatten1"]["E6"].value == "='relu1'!A6"
    # The input is at D6, the weights are below it at D8 and D9.
    assert book["output"]["D6"].value == "='flatten1'!E6"
    assert book["output"]["B9"].value == "=SUMPRODUCT($D$6,D9)+C9"
    assert book["softmax"]["C7"].value == "=EXP(B7-MAX($B$6:$B$7))"
    assert book["softmax"]["D7"].value == "=C7/SUM($C$6:$C$7)"
    assert book["softmax"]["G6"].value == "=INDEX($A$6:$A$7,MATCH(MAX($B$6:$B$7),$B$6:$B$7,0))"


def test_a_channel_that_never_varied_is_zero_in_the_workbook_whatever_is_typed_into_it(tmp_path):
    net = layers(
        standardise=Standardise(torch.tensor([3.0, 255.0]), torch.tensor([2.0, 0.0])),
        flatten1=nn.Flatten(),
        output=nn.Linear(2, 2),
    )
    trace = Trace.record(net, np.array([[[7]], [[230]]], np.uint8), np.array([0, 1]))
    path = write(trace, tmp_path / "net.xlsx")
    there = Recalculated(path)
    assert there.output("standardise", (2, 1, 1)).tolist() == [[[2]], [[0]]]  # (7 − 3)/2
    cell, *_ = (c.offset(1) for c in find(there.book["image"], "channel 1"))
    changed = Recalculated(path, {("image", cell.coordinate): 99})
    assert changed.output("standardise", (2, 1, 1)).tolist() == [[[2]], [[0]]]


def test_the_weights_are_the_networks_to_the_last_digit(tmp_path):
    trace = trace_of("plain")
    book = openpyxl.load_workbook(write(trace, tmp_path / "net.xlsx"))

    kernel = [[cell.value for cell in row] for row in book["conv1"]["A6:C8"]]
    dense = [[cell.value for cell in row] for row in book["output"]["D8:K10"]]

    # Sixteen digits, as spreadsheets like to write them, would not do for four weights in ten.
    np.testing.assert_array_equal(kernel, trace["conv1"].weights["weight"][0, 0].astype(float))
    np.testing.assert_array_equal(dense, trace["output"].weights["weight"].astype(float))


def test_a_viewer_that_does_not_compute_shows_the_networks_own_numbers(tmp_path):
    trace = trace_of("plain")
    book = openpyxl.load_workbook(write(trace, tmp_path / "net.xlsx"), data_only=True)

    shown = [[cell.value for cell in row] for row in book["conv1"]["G6:K9"]]

    np.testing.assert_array_equal(shown, trace["conv1"].output[0].astype(float))
    assert book["read me first"]["B5"].value == book["softmax"]["G6"].value == trace.label
    assert book["read me first"]["B6"].value == trace.probabilities.max()
    assert book["image"]["E3"].value == f"Prediction: {trace.label} ({100 * trace.probabilities.max():.2f} %)"


@pytest.mark.parametrize("classes", [["=1+1", "@SUM(A1)"], ["5", "<&>"], [5, -1], [True, False], ["", "#N/A"]])
def test_labels_are_text_whatever_they_look_like(tmp_path, classes):
    trace = brighter_side()
    trace = Trace.record(trace._module, trace.image, np.array(classes))
    path = write(trace, tmp_path / "net.xlsx")

    cells = [cell for (cell,) in openpyxl.load_workbook(path)["softmax"]["A6:A7"]]

    assert [cell.value or "" for cell in cells] == [str(label) for label in classes]
    assert {cell.data_type for cell in cells if cell.value} <= {"s"}


def test_sheets_are_named_after_layers_as_far_as_excel_allows(tmp_path):
    names = ("a" * 40, "A" * 40, "what?", "it's", "image", "HISTORY", "SORT(1)", "'")
    net = layers(**{name: nn.ReLU() for name in names}, flatten1=nn.Flatten(), output=nn.Linear(2, 2))
    trace = Trace.record(net, np.ones((1, 1, 2), np.float32), np.array([0, 1]))
    path = write(trace, tmp_path / "net.xlsx")

    sheets = openpyxl.load_workbook(path).sheetnames

    assert sheets == [
        *("read me first", "image", "a" * 31, "A" * 27 + " (2)", "what_", "it_s", "image (2)", "HISTORY (2)"),
        *("SORT_1)", "_", "flatten1", "output", "softmax"),
    ]
    assert Recalculated(path)["_", "A6"] == 1.0


def test_some_layers_start_from_plain_numbers(tmp_path):
    trace = trace_of("plain")
    path = write(trace, tmp_path / "net.xlsx", layers=["pool1", "relu1", "output"])

    workbook = Recalculated(path, {("input of relu1", "A6"): 9.0})

    names = ["read me first", "input of relu1", "relu1", "pool1", "input of output", "output"]
    assert workbook.book.sheetnames == names
    expected = trace["pool1"].output.copy()
    expected[0, 0, 0] = 9.0
    np.testing.assert_allclose(workbook.output("pool1", expected.shape), expected, rtol=1e-14)  # 15 digits
    np.testing.assert_allclose(workbook.output("output", (3,)), trace["output"].output, atol=1e-6)
    # Without the softmax nothing is said of a prediction.
    assert workbook.book["input of relu1"]["E3"].value is None
    assert workbook.book["read me first"]["A4"].value == "How to use it"


def test_a_block_is_chosen_with_all_that_is_inside_it_and_both_its_ways_start_from_the_same_numbers(tmp_path):
    trace = trace_of("residual")
    path = write(trace, tmp_path / "net.xlsx", layers=["block1"])

    workbook = Recalculated(path)

    inside = ["block1.conv1", "block1.norm1", "block1.shortcut"]
    assert workbook.book.sheetnames == ["read me first", "input of block1", *inside, "block1"]
    output = trace["block1"].output
    np.testing.assert_allclose(workbook.output("block1", output.shape), output, atol=1e-5)


def test_two_runs_give_the_same_bytes(tmp_path):
    first, second = (write(trace_of("plain"), tmp_path / name) for name in ("a.xlsx", "b.xlsx"))
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as file:
        assert b"2000-01-01T00:00:00Z</dcterms:created>" in file.read("docProps/core.xml")
        assert {entry.date_time[0] for entry in file.infolist()} == {1980}  # the least that a zip file knows


def test_colours_are_centred_on_zero_and_each_sheet_has_one_scale(tmp_path):
    trace = trace_of("plain")
    book = openpyxl.load_workbook(write(trace, tmp_path / "net.xlsx"))

    def scales(sheet):
        rules = (rule for area in book[sheet].conditional_formatting for rule in area.rules)
        return {
            tuple(np.float32(end.val) for end in rule.colorScale.cfvo) for rule in rules if rule.type == "colorScale"
        }

    assert scales("image") == {(0, 255)}
    # One scale for the maps and one for the kernels, with the bias.
    step = trace["conv1"]
    maps, kernels = (max(np.abs(a).max() for a in arrays) for arrays in ([step.output], step.weights.values()))
    assert -step.output.min() == maps  # the lowest is farther from zero than the highest
    assert scales("conv1") == {(-maps, 0, maps), (-kernels, 0, kernels)}


def test_headings_and_what_computes_them_stay_when_a_sheet_is_scrolled(tmp_path):
    book = openpyxl.load_workbook(write(trace_of("plain"), tmp_path / "net.xlsx"))
    frozen = {sheet.title: sheet.freeze_panes for sheet in book}
    assert (frozen["image"], frozen["conv1"], frozen["output"]) == ("A4", "A4", "D8")


def test_the_cover_leads_to_every_sheet_and_back(tmp_path):
    book = openpyxl.load_workbook(write(trace_of("plain"), tmp_path / "net.xlsx"))
    links = [cell.hyperlink.location for (cell,) in book["read me first"]["A1:A40"] if cell.hyperlink]
    assert links == [f"'{name}'!A1" for name in book.sheetnames[1:]]
    assert {sheet["A3"].hyperlink.location for sheet in book.worksheets[1:]} == {"'read me first'!A1"}


def say(sentence):
    return re.escape(sentence) + r"\Z"


@pytest.mark.parametrize(
    ("chosen", "got"), [(["conv1", "conv9"], "'conv9'"), ([], "none"), ("conv1", "'1', 'c', 'n', 'o' and 'v'")]
)
def test_layers_are_named_as_in_the_trace(tmp_path, chosen, got):
    names = "'standardise', 'conv1', 'relu1', 'pool1', 'flatten1' and 3 more"
    with pytest.raises(ValueError, match=say(f"Expected the names of layers, out of {names}; got {got}.")):
        write(trace_of("plain"), tmp_path / "net.xlsx", chosen)


def test_a_layer_without_a_formula_is_refused_and_those_around_it_are_not(tmp_path):
    net = layers(standardise=standardise(), act=nn.Softplus(), flatten1=nn.Flatten(), output=nn.Linear(2, 2))
    trace = Trace.record(net, np.ones((1, 1, 2), np.uint8), np.array([0, 1]))
    sentence = (
        "Expected layers that formulas can compute; got 'act' (Softplus). "
        "Write .html instead, or in Python to_xlsx(path, layers=('standardise',))."
    )
    with pytest.raises(ValueError, match=say(sentence)):
        write(trace, tmp_path / "net.xlsx")
    assert list(tmp_path.iterdir()) == []
    path = write(trace, tmp_path / "net.xlsx", ["standardise", "flatten1", "output", "softmax"])
    workbook = Recalculated(path)
    np.testing.assert_allclose(workbook.output("softmax", (2,)), trace.probabilities, atol=1e-6)


def test_a_large_network_is_refused_with_the_numbers_and_a_part_that_fits(tmp_path):
    net = layers(
        standardise=standardise(),
        conv1=nn.Conv2d(1, 4, 3),
        flatten1=nn.Flatten(),
        dense1=nn.Linear(4 * 6 * 6, 700),
        output=nn.Linear(700, 2),
    )
    trace = Trace.record(net, np.ones((1, 8, 8), np.uint8), np.array([0, 1]))
    # image 64, standardise 64 and mean, std, conv1 4 × (9 + 1) weights and 144 values, flatten1 144,
    # dense1 144 inputs, 700 × (144 + 1) weights and 700 values, output 700 inputs, 2 × (700 + 1) weights and 2 values,
    # softmax 2 logits, powers and probabilities, and the largest: 64 + 66 + 184 + 144 + 102344 + 2104 + 7 = 104913
    sentence = (
        "Expected at most 100,000 pixels, weights and values, so that a spreadsheet computes them at once; got "
        "104,913, of them 102,344 on sheet 'dense1'. "
        "Write .html instead, or in Python to_xlsx(path, layers=('standardise', 'conv1', 'flatten1'))."
    )
    with pytest.raises(ValueError, match=say(sentence)):
        write(trace, tmp_path / "net.xlsx")
    assert write(trace, tmp_path / "net.xlsx", ("standardise", "conv1", "flatten1")).exists()


def test_lenet5_on_mnists_images_fits(tmp_path):
    net = find_architecture("lenet5").build((1, 28, 28), 10)
    net = nn.Sequential(OrderedDict([("standardise", standardise()), *net.named_children()]))
    trace = Trace.record(net, np.zeros((1, 28, 28), np.uint8), np.arange(10))
    book = openpyxl.load_workbook(write(trace, tmp_path / "net.xlsx"), read_only=True)
    assert book.sheetnames[:4] == ["read me first", "image", "standardise", "conv1"]


def test_more_columns_than_excel_has_are_refused(tmp_path):
    net = layers(relu1=nn.ReLU(), pool1=nn.MaxPool2d((1, 20_000)), flatten1=nn.Flatten(), output=nn.Linear(1, 2))
    trace = Trace.record(net, np.zeros((1, 1, 20_000), np.float32), np.array([0, 1]))
    sentence = (
        "Expected at most 1,048,576 rows and 16,384 columns, the limits of Excel; got 6 and 20,000 in sheet "
        "'image'. Write .html instead."
    )
    with pytest.raises(ValueError, match=say(sentence)):
        write(trace, tmp_path / "net.xlsx")


def test_longer_formulas_than_excel_reads_are_refused(tmp_path):
    net = layers(conv1=nn.Conv2d(300, 1, 2), flatten1=nn.Flatten(), output=nn.Linear(1, 2))
    trace = Trace.record(net, np.zeros((300, 2, 2), np.float32), np.array([0, 1]))
    with pytest.raises(ValueError, match=r"\AExpected formulas of at most 8,192 letters, .* in sheet 'conv1'\. "):
        write(trace, tmp_path / "net.xlsx")


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    trace = brighter_side()
    trace._module.output.weight.data[0, 0] = float("inf")
    trace = Trace.record(trace._module, trace.image, trace.classes)
    sentence = (
        "Expected finite numbers, as a spreadsheet has no others; got NaN or infinity in layer 'output'. "
        "Fit the network again with a lower learning rate."
    )
    with pytest.raises(ValueError, match=say(sentence)):
        write(trace, tmp_path / "net.xlsx")


def test_without_xlsxwriter_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    sentence = (
        "Expected xlsxwriter to be installed, which to_xlsx needs; got none. "
        "Install it with pip install 'cnnclf[xlsx]'."
    )
    with pytest.raises(ImportError, match=say(sentence)):
        write(brighter_side(), tmp_path / "net.xlsx")


def test_an_older_file_stays_when_writing_fails(tmp_path):
    path = tmp_path / "net.xlsx"
    path.write_text("older")
    with pytest.raises(ValueError, match="Expected the names of layers"):
        write(brighter_side(), path, ["conv1"])
    assert path.read_text() == "older"
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        write(brighter_side(), tmp_path / "nowhere" / "net.xlsx")


def shown(book, sheet, cell, value):
    """The number format that Excel takes for a value: of the first rule that holds, else the cell's own."""
    for cells, rules in book[sheet].conditional_formatting._cf_rules.items():
        for rule in rules if cell in cells else ():
            if rule.type == "expression" and rule.dxf.numFmt is not None:
                compiled = formulas.Parser().ast(f"={rule.formula[0]}")[1].compile()
                if np.ravel(compiled(value)).tolist() == [True]:
                    return rule.dxf.numFmt.formatCode
    return book[sheet][cell].number_format


def test_a_probability_near_1_or_near_0_reads_as_neither(tmp_path):
    module = layers(standardise=standardise(), flatten1=nn.Flatten(), output=nn.Linear(4, 2))
    module.output.weight.data.zero_()
    module.output.bias.data = torch.tensor([13.6, 0.0])  # 1 / (1 + exp(−13.6)) = 0.9999988
    path = Trace.record(module, np.zeros((1, 2, 2), np.uint8), CLASSES[:2]).to_xlsx(tmp_path / "sure.xlsx")
    book = Recalculated(path)
    assert book["image", "E3"] == f"Prediction: {CLASSES[0]} (99.9999 %)"
    # The rules are relative to the first cell of the two probabilities.
    top = find(book.book["softmax"], "probability")[0]
    first, second = top.offset(1).coordinate, top.offset(2).coordinate
    for value, code in [
        (book["softmax", first], "0.0000%"),
        (book["softmax", second], "0.0000%"),
        (0.5, "0.00%"),
        (0.0, "0.00%"),
        (1.0, "0.00%"),
        (0.99996, "0.000%"),
        (1e-12, '"<0.000001%"'),
    ]:
        assert shown(book.book, "softmax", first, value) == code
