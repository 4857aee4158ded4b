"""scikit-learn's own checks of an estimator, all of them, with nothing declared that would switch one off."""

import pytest
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from cnnclf import CNNClassifier

CONFIGURATIONS = [
    CNNClassifier(),
    CNNClassifier("lenet5"),
    CNNClassifier("pool3_head3"),
    CNNClassifier(augment=("affine", "erase"), weight_averaging=True),
    CNNClassifier(early_stopping=True),
]


@parametrize_with_checks(CONFIGURATIONS)
def test_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", CONFIGURATIONS, ids=str)
def test_no_tag_switches_a_check_off(estimator):
    tags = get_tags(estimator)
    assert tags.estimator_type == "classifier"
    assert tags.classifier_tags.multi_class
    assert not tags.classifier_tags.poor_score
    assert not tags.non_deterministic
    assert not tags.no_validation
    assert tags.input_tags.two_d_array
    assert tags.input_tags.three_d_array  # images
    assert not tags.input_tags.positive_only
    assert not tags.input_tags.allow_nan
    assert tags.target_tags.required
    assert not tags.target_tags.positive_only


def test_the_estimator_under_test_is_the_one_people_use():
    assert {type(estimator) for estimator in CONFIGURATIONS} == {CNNClassifier}
