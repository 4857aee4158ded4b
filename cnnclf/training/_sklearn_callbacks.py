"""scikit-learn's callbacks, from version 1.9 on; with earlier versions nothing is called."""

from collections.abc import Callable
from typing import Any

__all__ = ["CallbackSupportMixin", "fit_within", "train_by_epochs"]

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """An estimator without ``set_callbacks``."""

    def with_callbacks(method: Callable[..., None]) -> Callable[..., None]:
        """Return the function itself."""
        return method


@with_callbacks  # type: ignore[untyped-decorator,unused-ignore]
def train_by_epochs(
    estimator: Any,
    train: Callable[[Any], None],
    n_epochs: int,
    given: dict[str, Any],
    snapshot: Callable[[], dict[str, Any]],
) -> None:
    """Train, as a task of scikit-learn's callbacks.

    Parameters
    ----------
    estimator : CNNClassifier
        Whose callbacks are called.
    train : callable
        Trains; its argument is the task of which each epoch is a subtask, or None before scikit-learn 1.9.
    n_epochs : int
        Largest number of subtasks.
    given : dict
        What ``fit`` was given: X, y and metadata, as scikit-learn's callbacks take them.
    snapshot : callable
        Returns the attributes that make a copy of the estimator stay where training stands.
    """
    if not hasattr(estimator, "_init_callback_context"):
        train(None)
        return
    task = estimator._init_callback_context(max_subtasks=n_epochs)
    task.call_on_fit_task_begin(estimator=estimator, **given)
    train(task)
    task.call_on_fit_task_end(estimator=estimator, **given, reconstruction_attributes=snapshot)


@with_callbacks  # type: ignore[untyped-decorator,unused-ignore]
def fit_within(outer: Any, inner: Any, X: Any, y: Any, **fit_params: Any) -> None:
    """Fit the one classifier of a meta-estimator, to which the meta-estimator's callbacks are handed on."""
    if not hasattr(outer, "_init_callback_context"):
        inner.fit(X, y, **fit_params)
        return
    whole = outer._init_callback_context(max_subtasks=1)
    given = {"X": X, "y": y, "metadata": fit_params}
    whole.call_on_fit_task_begin(estimator=outer, **given)
    part = whole.subcontext(task_name="classifier")
    with part.propagate_callback_context(inner):
        part.call_on_fit_task_begin(estimator=outer, **given)
        inner.fit(X, y, **fit_params)
    part.call_on_fit_task_end(estimator=outer, **given)
    whole.call_on_fit_task_end(estimator=outer, **given)
