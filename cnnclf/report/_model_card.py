"""Records of one training → a model card: Markdown with the metadata that the Hugging Face Hub reads."""

import json
from typing import TYPE_CHECKING

from cnnclf.evaluation._records import wilson_interval
from cnnclf.report._render import templates

if TYPE_CHECKING:
    from cnnclf.report._records import Report

N_CLASSES = 30  # listed by name
N_PAIRS = 10  # most confused pairs


def model_card(report: "Report") -> str:
    """Write the model card of a trained network.

    The sections are those of Mitchell et al. 2019, “Model cards for model reporting”, section 4; the metadata are
    those of the Hugging Face Hub (https://huggingface.co/docs/hub/model-cards).

    Parameters
    ----------
    report : Report
        Made by ``Report.of``.

    Returns
    -------
    str
        Markdown, the same for the same records. What differs from run to run is in one line.

    Raises
    ------
    ValueError
        If the report is of predictions alone, without a trained network.
    """
    if report.data is None or report.model is None or report.run is None:
        raise ValueError(
            "Expected a report with data, model and run; got one of predictions alone. "
            "A model card describes a trained network: make the report with Report.of."
        )
    labels = report.evaluation.classes.tolist()
    of_class = dict(zip(labels, report.evaluation.per_class, strict=True))
    tested = [label for label in labels if of_class[label].support]
    weakest = min(tested, key=lambda label: of_class[label].recall)  # the first of equals
    recall, support = of_class[weakest].recall, of_class[weakest].support
    environment = templates()
    environment.filters["quoted"] = quoted
    return environment.get_template("model_card.md.j2").render(
        report=report,
        weakest={"label": weakest, "recall": recall, "support": support},
        interval=wilson_interval(round(recall * support), support),
        untested=[label for label in labels if label not in tested],
        n_classes=N_CLASSES,
        n_pairs=N_PAIRS,
    )


def quoted(text: str) -> str:
    r"""Return text between double quotes on one line, as YAML (1.2.2, section 7.3.1), JSON and Python all read it.

    Examples
    --------
    >>> print(quoted('two: "lines"\n# and\x85 no comment'))
    "two: \"lines\"\n# and\u0085 no comment"
    """
    # The letters that YAML allows only as escapes have four hexadecimal digits.
    return "".join(
        letter if letter.isprintable() or ord(letter) > 0xFFFF else f"\\u{ord(letter):04x}"
        for letter in json.dumps(text, ensure_ascii=False)
    )
