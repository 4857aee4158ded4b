"""Every parameter is explained, what the explanation allows is what the estimator accepts, and values read the same."""

import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.utils import check_random_state

from cnnclf import CNNClassifier, list_architectures
from cnnclf.classifier._auto import MANY_ROWS, PAYS_FROM, resolve_epochs
from cnnclf.classifier._parameters import PARAMETERS, Range, check_parameters
from cnnclf.classifier._settings import Setting, explain, readable
from cnnclf.training._augmentation import AUGMENTATIONS
from cnnclf.training._data import choose_batch_size
from cnnclf.training._net import OPTIMIZERS, SCHEDULES

# What a range says before its semicolon → values that it allows, the ends among them, and values that it does not.
NEARLY_0, NEARLY_1 = 1e-12, 1 - 1e-12
RANGES = {
    "a whole number, 1 or more": ([1, 1000], [0, -1, 1.5, True, None, "1"]),
    "a whole number, 0 or more": ([0, 1000], [-1, 0.5, None, "1"]),
    "'auto', or a whole number, 1 or more": (["auto", 1, 1000], [0, 1.5, None, "many"]),
    "a number above 0": ([NEARLY_0, 1000], [0, -0.1, math.inf, math.nan, None, "1"]),
    "a number, 0 or more": ([0, 1000], [-NEARLY_0, math.inf, math.nan, None]),
    "a number from 0 to 1, 1 excluded": ([0, NEARLY_1], [-NEARLY_0, 1, math.nan, None]),
    "a number between 0 and 1, both excluded": ([NEARLY_0, NEARLY_1], [0, 1, math.nan, None]),
    "True or False": ([True, False], [0, 1, None, "yes"]),
    "'muon', 'adamw', 'adam' or 'sgd'": (["muon", "adamw", "adam", "sgd"], ["AdamW", None]),
    "'one_cycle', 'cosine' or 'constant'": (["one_cycle", "cosine", "constant"], ["linear", None]),
    "None, 'resize', 'pad' or 'handwriting'": ([None, "resize", "pad", "handwriting"], ["mnist", True, ["pad"]]),
    "'auto', 'float32' or 'bfloat16'": (["auto", "float32", "bfloat16"], ["float16", None]),
    "'auto', a name of list_architectures(), or a function (image_shape, n_classes) -> nn.Module": (
        ["auto", *list_architectures(), lambda image_shape, n_classes: torch.nn.Flatten()],
        ["resnet", None, torch.nn.Flatten()],
    ),
    "None, 'auto', 'flip', 'crop', 'shift', 'affine', 'elastic', 'colour', 'erase', a function from batch to batch"
    ", or a list of names and functions": (
        [None, "auto", *AUGMENTATIONS, ["shift", "erase"], lambda x: x, [torch.fliplr], ("flip", lambda x: x, "erase")],
        ["mirror", ["mirror"], ["auto"], 1, ["flip", None], ["flip", ["crop"]], {"flip"}],
    ),
    "None, 'balanced', or a dict from class to a weight of 0 or more": (
        [None, "balanced", {"cat": 0, "dog": 2.5}],
        ["equal", {"cat": -1}, {"cat": math.inf}],
    ),
    "None, or three whole numbers (channels, height, width)": ([None, (1, 28, 28)], [784]),
    "'auto', or the name of a torch device such as 'cpu' or 'cuda'": (["auto", "cpu", "cuda"], ["abacus", None]),
    "None, or the path of a folder, in which '{fit}' gives each fit a folder of its own": (
        [None, "run", "runs/{fit}", Path("run")],
        ["", 1, b"run"],
    ),
    "None, or a list of skorch callbacks or of (name, callback) pairs": ([None, []], [[print], print]),
}
BY_SCIKIT_LEARN = "None, a whole number from 0 to 4294967295, or a numpy RandomState"


class Subclass(CNNClassifier):
    """A subclass with two parameters of its own."""

    def __init__(self, unheard_of, *, another="auto", lr=0.1):
        super().__init__(lr=lr)
        self.unheard_of = unheard_of
        self.another = another


def explained(clf):
    return {setting.name: setting for setting in explain(clf)}


def limits(name):
    return PARAMETERS[name].allowed.words


def test_every_parameter_of_the_estimator_has_a_meaning_a_range_and_a_reason():
    assert set(PARAMETERS) == set(CNNClassifier().get_params())
    for name, explanation in PARAMETERS.items():
        assert explanation.meaning, name
        assert explanation.range, name
        assert (explanation.reason or explanation.on_mnist).endswith("."), name
        assert not re.search("MNIST|Measured here", explanation.reason), name
        assert explanation.on_mnist == "" or re.search("MNIST|Measured here", explanation.on_mnist), name


def test_a_reason_is_given_for_the_value_and_the_data_that_it_was_written_for():
    def reason(name, on_mnist=False, **parameters):
        return {setting.name: setting.reason for setting in explain(CNNClassifier(**parameters), on_mnist=on_mnist)}[
            name
        ]

    assert reason("early_stopping", on_mnist=True).endswith(
        "ten epochs do not overfit: 99.38 % against 99.32 % after five."
    )
    assert reason("early_stopping").endswith("from which the network then cannot learn.")
    assert reason("early_stopping", on_mnist=True, early_stopping=True) == ""
    assert reason("max_epochs").startswith("'auto' shows the network about 200,000 images, in 4 to 30 epochs;")
    assert reason("max_epochs", max_epochs=4) == ""  # the reason explains the default
    assert reason("class_weight", class_weight="balanced") == ""
    assert reason("class_weight") == "Every image counts the same, as in every scikit-learn classifier."


@pytest.mark.parametrize("name", [name for name in PARAMETERS if limits(name) != BY_SCIKIT_LEARN])
def test_what_the_range_allows_is_what_the_estimator_accepts(name):
    allowed, refused = RANGES[limits(name)]
    for value in allowed:
        check_parameters(CNNClassifier(**{name: value}))
    for value in refused:
        with pytest.raises((ValueError, TypeError), match=rf"\AExpected {name} to be |\AUnknown {name} "):
            check_parameters(CNNClassifier(**{name: value}))


@pytest.mark.parametrize("name", [name for name in PARAMETERS if "usual" in PARAMETERS[name].range])
def test_what_is_usual_is_allowed_and_the_default_is_usual(name):
    low, high = map(float, re.search(r"; ([\d.]+) to ([\d.]+) is usual\Z", PARAMETERS[name].range).groups())
    whole = "whole" in limits(name)
    for end in (low, high):
        check_parameters(CNNClassifier(**{name: int(end) if whole else end}))
    default = getattr(CNNClassifier(), name)
    if default == "auto":
        default = {"batch_size": choose_batch_size, "max_epochs": resolve_epochs}[name](default, 60_000)
    assert low <= default <= high


def test_the_range_of_the_seed_is_scikit_learns():
    assert limits("random_state") == BY_SCIKIT_LEARN
    for seed in (None, 0, 4_294_967_295, np.random.RandomState(0)):
        check_random_state(seed)
    for seed in (-1, 4_294_967_296):
        with pytest.raises(ValueError, match="Seed must be between"):
            check_random_state(seed)


@pytest.mark.parametrize(("name", "table"), [("optimizer", OPTIMIZERS), ("lr_schedule", SCHEDULES)])
def test_a_range_names_all_there_is(name, table):
    assert re.findall(r"'(\w+)'", PARAMETERS[name].range) == list(table)


def test_the_range_of_augment_names_all_augmentations():
    assert set(re.findall(r"'(\w+)'", PARAMETERS["augment"].range)) == {"auto", *AUGMENTATIONS}


@pytest.mark.parametrize("name", ["optimizer", "lr_schedule", "preparation", "precision"])
def test_ranges_and_the_docstring_of_the_estimator_name_the_same(name):
    (choices,) = re.findall(rf"^    {name} : {{(.*)}}", CNNClassifier.__doc__, flags=re.MULTILINE)
    assert re.findall(r'"(\w+)"', choices) == re.findall(r"'(\w+)'", PARAMETERS[name].range)


def test_what_the_reasons_say_about_the_code_is_so():
    # 60,000 / 100 steps = 600 images, more than 128; 1,000 / 100 = 10, fewer than 16
    assert "within 16 and 128" in PARAMETERS["batch_size"].reason
    assert (choose_batch_size("auto", 60_000), choose_batch_size("auto", 1_000)) == (128, 16)
    assert "torch's own default" in PARAMETERS["weight_decay"].reason
    assert inspect.signature(torch.optim.AdamW).parameters["weight_decay"].default == CNNClassifier().weight_decay
    assert "first 30 %" in PARAMETERS["lr_schedule"].reason
    assert SCHEDULES["one_cycle"](0.3) == 1
    epochs = PARAMETERS["max_epochs"].reason
    # 200,000 / 50,000 = 4 and 200,000 / 6,000 = 33.3; 3,000 / 100 = 30 and 3,000 / 15 = 200
    assert "about 200,000 images, in 4 to 30 epochs; of fewer than 100 rows it shows 3,000" in epochs
    assert [resolve_epochs("auto", n) for n in (10**9, 50_000, 6_000, 100, 15, 1)] == [4, 4, 30, 30, 200, 200]
    assert [resolve_epochs("auto", n) for n in (20_000, 50)] == [10, 60]
    first, later = PAYS_FROM["flip"], PAYS_FROM["shift"]
    text = f"from {later} epochs on; with {MANY_ROWS:,} images or more, mirrors from {first} on."
    assert text in PARAMETERS["augment"].reason
    assert "√(.99 · .01 / 6000) = 0.13" in PARAMETERS["validation_fraction"].on_mnist
    assert round(100 * math.sqrt(0.99 * 0.01 / 6000), 2) == 0.13


def test_settings_stand_in_the_order_of_the_table_and_are_all_default_at_first():
    settings = explain(CNNClassifier())
    assert [setting.name for setting in settings] == list(PARAMETERS)
    assert all(setting.is_default and setting.value == setting.default for setting in settings)


def test_a_setting_holds_its_value_its_default_and_the_explanation():
    meaning, range_, reason = (getattr(PARAMETERS["lr"], part) for part in ("meaning", "range", "reason"))
    assert explained(CNNClassifier())["lr"] == Setting("lr", "0.01", "0.01", True, meaning, range_, reason)
    # the reason speaks for the default
    assert explained(CNNClassifier(lr=0.02))["lr"] == Setting("lr", "0.02", "0.01", False, meaning, range_, "")
    # the same number, from a search over a grid in NumPy
    assert explained(CNNClassifier(lr=np.float64(0.01)))["lr"].is_default


def test_what_a_program_sets_where_nothing_is_said_is_not_told_as_set():
    settings = {
        s.name: s for s in explain(CNNClassifier(random_state=0, verbose=2), usual={"random_state": 0, "verbose": 1})
    }
    seed, verbose = settings["random_state"], settings["verbose"]
    assert (seed.value, seed.default, seed.is_default) == ("0", "0", True)
    assert seed.reason == ""  # which would speak for None
    assert (verbose.value, verbose.default, verbose.is_default) == ("2", "1", False)


def test_a_function_that_is_called_as_the_default_is_not_the_default():
    def compact(image_shape, n_classes):
        return torch.nn.Flatten()

    compact.__qualname__ = "compact"
    setting = explained(CNNClassifier(compact))["architecture"]
    assert (setting.value, setting.default, setting.is_default) == ("compact", "auto", False)


def test_auto_is_told_with_what_it_became_once_there_is_a_network(few_digits):
    X, y, *_ = few_digits
    clf = CNNClassifier(max_epochs=1, device="cpu", precision="float32", random_state=0)
    assert explained(clf)["batch_size"].value == "auto"
    # 400 images / 100 steps = 4, and 16 is the smallest batch
    setting = explained(clf.fit(X, y))["batch_size"]
    assert (setting.value, setting.default, setting.is_default) == ("auto: 16", "auto", True)
    assert explained(clf)["device"].value == "cpu"


def test_parameters_of_a_subclass_come_last_and_unexplained(few_digits):
    X, y, *_ = few_digits
    settings = explain(Subclass(3, another="auto", lr=0.1).set_params(lr=0.2))
    assert [setting.name for setting in settings] == ["lr", "another", "unheard_of"]
    assert settings[0].default == "0.1"  # the subclass's own
    assert settings[1] == Setting("another", "auto", "auto", True, "", "", "")
    assert settings[2] == Setting("unheard_of", "3", "", False, "", "", "")
    # no such thing in the network, so nothing to say
    assert explained(Subclass(3).fit(X[:20], y[:20]))["another"].value == "auto"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("sgd", "sgd"),
        (None, "None"),
        (False, "False"),
        (0.001, "0.001"),
        (np.int64(3), "3"),
        (np.float32(0.5), "0.5"),
        ((1, 28, 28), "(1, 28, 28)"),
        (["shift", len], "[shift, len]"),
        ({0: 1.5, "b": None}, "{0: 1.5, b: None}"),
        (Path("a/b"), str(Path("a/b"))),
        (Setting, "Setting"),
        (Range(bool, "").__eq__, "Range.__eq__"),
        (np.random.RandomState(0), "RandomState(…)"),
        ([("timer", object())], "[(timer, object(…))]"),
    ],
)
def test_values_read_the_same_in_every_run(value, text):
    assert readable(value) == text
