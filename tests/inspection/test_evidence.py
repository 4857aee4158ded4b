"""The evidence for a class adds up to its logit."""

import math

import numpy as np
import pytest
from torch import nn

from cnnclf.inspection._evidence import Contribution
from cnnclf.inspection._trace import Trace
from helpers import exactly, sequential
from small_networks import BOTH, arange, hand_set, record


def evidence_net():
    # Features 1 2 3 4 from maps of two channels of one row of two; logits
    # no: 1·1 + 0·2 − 1·3 + 2·4 + 1 = 7      yes: 2·1 + 1·2 + 1·3 + 0·4 + 0.5 = 7.5      maybe: 0
    dense = hand_set(nn.Linear(4, 3), weight=[[1.0, 0, -1, 2], [2, 1, 1, 0], [0, 0, 0, 0]], bias=[1.0, 0.5, 0.0])
    layers = {"flatten1": nn.Flatten(), "dropout1": nn.Dropout(), "relu1": nn.ReLU(), "output": dense}
    return Trace.record(sequential(**layers), 1 + arange(2, 1, 2), np.array(["no", "yes", "maybe"]))


def test_evidence_by_hand():
    evidence = evidence_net().evidence("no", k=2)
    assert evidence.top == (
        Contribution(feature=3, cell=(1, 0, 1), value=4.0, weight=2.0, product=8.0),
        Contribution(feature=2, cell=(1, 0, 0), value=3.0, weight=-1.0, product=-3.0),
    )
    assert (evidence.label, evidence.against) == ("no", None)
    assert (evidence.rest, evidence.n_rest, evidence.bias, evidence.logit, evidence.recorded) == (1, 2, 1, 7, 7)


def test_what_separates_the_first_from_the_second():
    # yes − no: weights 1 1 2 −2, products 1 2 6 −8, biases −0.5: 0.5
    trace = evidence_net()
    evidence = trace.evidence(against=trace.ranking[1], k=2)
    assert (evidence.label, evidence.against) == ("yes", "no")
    assert [(c.feature, c.weight, c.product) for c in evidence.top] == [(3, -2, -8), (2, 2, 6)]
    assert (evidence.rest, evidence.bias, evidence.logit, evidence.recorded) == (3, -0.5, 0.5, 0.5)


@pytest.mark.parametrize("k", [0, 10, 1000])
@BOTH
def test_evidence_adds_up(trace, k):
    dense = trace["output"]
    for i, label in enumerate(trace.classes):
        evidence = trace.evidence(label, k=k)
        parts = [*(contribution.product for contribution in evidence.top), evidence.rest, evidence.bias]
        assert math.fsum(parts) == evidence.logit
        assert len(evidence.top) + evidence.n_rest == len(dense.input)
        expected = dense.weights["weight"][i].astype(np.float64) @ dense.input + dense.weights["bias"][i]
        assert evidence.logit == pytest.approx(expected, rel=1e-12)
        assert evidence.recorded == trace.logits[i]
        assert abs(evidence.logit - evidence.recorded) <= dense.recomputed.bound[i]
        against = trace.evidence(label, against=trace.ranking[-1], k=k)
        assert against.recorded == float(trace.logits[i]) - float(trace.logits.min())
        sizes = [abs(contribution.product) for contribution in evidence.top]
        assert sizes == sorted(sizes, reverse=True)


def test_features_that_are_no_flattened_maps_have_no_cell(zoo):
    assert zoo.evidence(k=1).top[0].cell is None  # another dense layer comes before
    flat = record(arange(1, 1, 3), flatten1=nn.Flatten(), block1=sequential(out=nn.Linear(3, 2)))
    assert [contribution.cell for contribution in flat.evidence(k=3).top] != [None] * 3


def test_evidence_that_cannot_be_had(zoo):
    sentence = "Expected a label among the classes 'ant', 'bee', 'cat' and 'dog'; got 'cow'."
    for ask in (zoo.evidence, zoo.occlusion, zoo.gradient):
        with pytest.raises(ValueError, match=exactly(sentence)):
            ask(label="cow")
    with pytest.raises(ValueError, match=exactly(sentence)):
        zoo.evidence(against="cow")
    with pytest.raises(ValueError, match=exactly("Expected k of at least 0; got -1.")):
        zoo.evidence(k=-1)
    trace = record(arange(2, 2, 2), pool1=nn.AdaptiveAvgPool2d(1), flatten1=nn.Flatten())
    sentence = (
        "Expected logits that come from a dense layer, whose products are the evidence; got 'flatten1' (Flatten) as "
        "the last layer. Use occlusion or gradient, which need none."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        trace.evidence()
