"""Records of one training → a model card: Markdown with the metadata that the Hugging Face Hub reads."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnnclf.evaluation._evaluation import Evaluation
from cnnclf.evaluation._records import wilson_interval
from cnnclf.report._render import templates

if TYPE_CHECKING:
    from cnnclf.report._records import Report

N_CLASSES = 30  # listed by name
N_PAIRS = 10  # most confused pairs


@dataclass(frozen=True)
class ClassRecall:
    """How well one class is found.

    Attributes
    ----------
    label : label
        The class.
    recall : float
        Of its test images, the share that was found, 0..1.
    interval : tuple of float
        Wilson 95 % interval of the recall.
    support : int
        Its test images.
    """

    label: Any
    recall: float
    interval: tuple[float, float]
    support: int


def model_card(report: "Report") -> str:
    """Write the model card of a trained network.

    The sections are those of Mitchell et al. 2019, “Model cards for model reporting”, section 4; the metadata are
    those of the Hugging Face Hub (https://huggingface.co/docs/hub/model-cards).

    Parameters
    ----------
    report : Report
        Made by ``Report.of``; read: its data, model, evaluation, reproduction, run and, where there is one, robustness.

    Returns
    -------
    str
        Markdown, the same for the same records. What differs from run to run stands in one line.

    Raises
    ------
    ValueError
        If the report holds predictions only, and no trained network.
    """
    if report.data is None or report.model is None or report.run is None:
        raise ValueError(
            "Expected a report with data, model and run, got one of predictions alone; "
            "a model card describes a trained network, whose report Report.of makes."
        )
    environment = templates()
    environment.filters["quoted"] = quoted
    return environment.get_template("model_card.md.j2").render(
        report=report,
        weakest=find_weakest(report.evaluation),
        untested=[
            label
            for label, scores in zip(report.evaluation.classes.tolist(), report.evaluation.per_class, strict=True)
            if scores.support == 0
        ],
        n_classes=N_CLASSES,
        n_pairs=N_PAIRS,
    )


def find_weakest(evaluation: Evaluation) -> ClassRecall:
    """Find the class with the lowest recall; the first of equals, and only among those that have test images.

    Examples
    --------
    >>> from cnnclf import Evaluation
    >>> proba = [[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]]
    >>> weakest = find_weakest(Evaluation.from_predictions(["cat", "dog", "dog"], proba, ["cat", "dog"]))
    >>> weakest.label, weakest.recall, weakest.support
    ('dog', 0.5, 2)
    """
    found = evaluation.confusion_matrix.diagonal().tolist()
    return min(
        (
            ClassRecall(label, scores.recall, wilson_interval(n_found, scores.support), scores.support)
            for label, scores, n_found in zip(evaluation.classes.tolist(), evaluation.per_class, found, strict=True)
            if scores.support
        ),
        key=lambda of_class: of_class.recall,
    )


def quoted(text: str) -> str:
    r"""Write text on one line between double quotes, as YAML (1.2.2, section 7.3.1), JSON and Python all read it.

    Examples
    --------
    >>> print(quoted('two: "lines"\n# and\x85 no comment'))
    "two: \"lines\"\n# and\u0085 no comment"
    """
    # What YAML does not allow to stand there as it is has four hexadecimal digits.
    return "".join(
        letter if letter.isprintable() or ord(letter) > 0xFFFF else f"\\u{ord(letter):04x}"
        for letter in json.dumps(text, ensure_ascii=False)
    )
