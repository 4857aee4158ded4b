"""Recipes: sets of parameters that the estimator takes, that can be searched over and overridden."""

import copy
import inspect
import re

import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from cnnclf import RECIPES, CNNClassifier, list_architectures
from cnnclf.classifier._parameters import check_parameters
from cnnclf.classifier._recipes import find_recipe


@pytest.fixture(scope="module")
def some(few_digits):
    X, y, *_ = few_digits
    return X[:200], y[:200]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_set_of_parameters_that_the_estimator_takes(name):
    clf = CNNClassifier(**RECIPES[name])
    check_parameters(clf)
    assert clone(clf).get_params() == clf.get_params()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_its_architecture_and_its_epochs_and_beside_them_only_what_it_changes(name):
    recipe = dict(RECIPES[name])
    del recipe["architecture"], recipe["max_epochs"]
    defaults = inspect.signature(CNNClassifier).parameters
    assert {key for key, value in recipe.items() if value == defaults[key].default} == set()
    # These are the caller's, not the recipe's.
    assert not recipe.keys() & {"random_state", "verbose", "checkpoint", "device", "image_shape", "class_weight"}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_learns(name, some):
    clf = CNNClassifier(**RECIPES[name] | {"max_epochs": 1}, random_state=0).fit(*some)
    assert len(clf.history_) == 1
    assert clf.predict_proba(some[0]).shape == (200, 10)


def test_what_is_overridden_goes_before_the_recipe_which_stays_as_it_is():
    before = copy.deepcopy(RECIPES)
    clf = CNNClassifier(**RECIPES["handwriting_accurate"] | {"max_epochs": 1})
    assert (clf.architecture, clf.max_epochs) == ("accurate", 1)
    assert before == RECIPES


@pytest.mark.slow
def test_a_search_finds_the_best_recipe(some):
    grid = [{key: [value] for key, value in (recipe | {"max_epochs": 1}).items()} for recipe in RECIPES.values()]
    search = GridSearchCV(CNNClassifier(random_state=0), grid, cv=2).fit(*some)
    assert search.best_params_ == RECIPES[list(RECIPES)[search.best_index_]] | {"max_epochs": 1}


def test_a_recipe_is_found_by_its_name():
    assert find_recipe("handwriting_accurate") is RECIPES["handwriting_accurate"]


def test_no_recipe_is_named_as_an_architecture():
    assert not RECIPES.keys() & set(list_architectures())


@pytest.mark.parametrize(
    ("former", "name"),
    [
        ("one_epoch", "first_look"),
        ("compact", "handwriting"),
        ("tiny", "handwriting_small"),
        ("accurate", "handwriting_accurate"),
    ],
)
def test_a_former_name_is_an_error_that_gives_the_new_one(former, name):
    assert name in RECIPES
    sentence = f"Expected recipe to be one of {', '.join(RECIPES)}; got {former!r}. It is called {name!r} now."
    with pytest.raises(ValueError, match=rf"\A{re.escape(sentence)}\Z"):
        find_recipe(former)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("handwritting", " Did you mean 'handwriting'?"),
        ("", ""),
        ("resnet", ""),
        ("lenet5", " That is an architecture."),
    ],
)
def test_an_unknown_name_is_an_error_that_offers_the_nearest(name, hint):
    sentence = f"Expected recipe to be one of {', '.join(RECIPES)}; got {name!r}.{hint}"
    with pytest.raises(ValueError, match=rf"\A{re.escape(sentence)}\Z"):
        find_recipe(name)


def test_a_recipe_as_architecture_is_an_error_that_says_how_a_recipe_is_used(some):
    sentence = (
        "Expected architecture to be the name of a network; got 'clothes', which is a recipe. Pass "
        "CNNClassifier(**RECIPES['clothes']), or --recipe clothes on the command line."
    )
    with pytest.raises(ValueError, match=rf"\A{re.escape(sentence)}\Z"):
        CNNClassifier("clothes").fit(*some)
