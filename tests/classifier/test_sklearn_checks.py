"""scikit-learn's own checks of an estimator, all of them, with nothing declared that would switch one off.

All for what people use as it comes, and with most that training can have; for the others those in which training shows.
"""

import pytest
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from cnnclf import CNNClassifier

IN_FULL = [CNNClassifier(), CNNClassifier(augment=("affine", "erase"), weight_averaging=True)]
IN_TRAINING = [CNNClassifier("lenet5"), CNNClassifier("pool3_head3"), CNNClassifier(early_stopping=True)]
CONFIGURATIONS = [*IN_FULL, *IN_TRAINING]
CHECKS_OF_TRAINING = [
    "check_class_weight_classifiers",
    "check_classifiers_classes",
    "check_classifiers_one_label",
    "check_classifiers_train",
    "check_dict_unchanged",
    "check_estimators_dtypes",
    "check_estimators_pickle",
    "check_fit2d_1sample",
    "check_fit_idempotent",
    "check_fit_score_takes_y",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_sample_weight_equivalence_on_dense_data",
]


# Some checks have images of a few pixels, and say so where an augmentation is set.
@pytest.mark.filterwarnings("ignore:Expected images of at least 8×8 pixels for augment=:UserWarning")
@parametrize_with_checks(IN_FULL)
def test_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", CHECKS_OF_TRAINING)
@pytest.mark.parametrize("configuration", IN_TRAINING, ids=str)
def test_check_of_training(configuration, name):
    checks = [(e, check) for e, check in estimator_checks_generator(configuration) if check.func.__name__ == name]
    assert checks
    for estimator, check in checks:
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
