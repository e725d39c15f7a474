"""Pseudo-labels: kept where all parts of the labelled rows agree, and no label swallows others."""

import torch
from torch.nn import functional as F

from adaptkit.heads.linear_probe import fit_linear_probe, fit_parts
from adaptkit.heads.pseudo_labels import SURE, agreed_labels

LABELS = 3


def _rows(count, seed, spread=1.0):
    draw = torch.Generator().manual_seed(seed)
    means = torch.randn(LABELS, 200, generator=torch.Generator().manual_seed(9)) * 0.35
    targets = torch.arange(count) % LABELS
    return means[targets] + spread * torch.randn(count, 200, generator=draw), targets


def _labelled(count=12):
    features, targets = _rows(count, 0)
    return fit_linear_probe(features, targets, F.cross_entropy, LABELS), features, targets


def test_pseudo_labels_are_right_more_often_than_answers_and_help():
    probe, features, targets = _labelled()
    unlabelled, truth = _rows(600, 1)
    places, labels = agreed_labels(probe, features, targets, unlabelled, F.cross_entropy, 0)
    right = (labels == truth[places]).float().mean()
    answers = (probe(unlabelled).argmax(1) == truth).float().mean()
    assert 30 < len(places) == len(set(places.tolist())) < 600
    assert right > answers
    more = torch.cat([features, unlabelled[places]]), torch.cat([targets, labels])
    test, wanted = _rows(900, 2)
    better = fit_linear_probe(*more, F.cross_entropy, LABELS)
    before, after = ((one(test).argmax(1) == wanted).float().mean() for one in (probe, better))
    assert after > before + 0.02


def test_each_is_sure_and_every_part_of_the_rows_agrees():
    probe, features, targets = _labelled()
    unlabelled, _ = _rows(300, 1)
    places, labels = agreed_labels(probe, features, targets, unlabelled, F.cross_entropy, 0)
    assert probe(unlabelled[places]).softmax(-1).amax(-1).min() >= SURE
    for part in fit_parts(probe, features, targets, F.cross_entropy, 0):
        assert torch.equal(part(unlabelled[places]).argmax(-1), labels)


def test_a_frequent_label_gets_no_more_rows_than_the_median_label():
    probe, features, targets = _labelled()
    unlabelled, truth = _rows(900, 1)
    mostly = torch.cat([(truth == 0).nonzero()[:, 0], (truth > 0).nonzero()[:60, 0]])
    _, labels = agreed_labels(probe, features, targets, unlabelled[mostly], F.cross_entropy, 0)
    counts = torch.bincount(labels, minlength=LABELS)
    assert counts.max() == counts.median()


def test_texts_that_none_agrees_on_get_no_label():
    probe, features, targets = _labelled()
    middle = features.mean(0).expand(5, -1)
    places, labels = agreed_labels(probe, features, targets, middle, F.cross_entropy, 0)
    assert len(places) == len(labels) == 0
