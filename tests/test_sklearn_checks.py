from sklearn.utils.estimator_checks import parametrize_with_checks

from cnnclf import CNNClassifier


@parametrize_with_checks(
    [
        CNNClassifier(),
        CNNClassifier("lenet5"),
        CNNClassifier("pool3_head3"),
        CNNClassifier(augment=("affine", "erase"), weight_averaging=True),
        CNNClassifier(early_stopping=True),
    ]
)
def test_check(estimator, check):
    check(estimator)
