"""The statistics of a user study, held against published examples and figures worked out by hand."""

import math

import numpy as np
import pytest

from seesr.study.design import Study
from seesr.study.results import _agreement
from seesr.study.statistics import Choice, fleiss_kappa, krippendorff_alpha, luce, preferences, wilson


def test_statistics_are_those_of_the_literature() -> None:
    # Agresti, Categorical Data Analysis, section 10.6: baseball, American League 1987; wins of row over column
    wins = np.array(
        [
            [0, 7, 9, 7, 7, 9, 11],
            [6, 0, 7, 5, 11, 9, 9],
            [4, 6, 0, 7, 7, 8, 12],
            [6, 8, 6, 0, 6, 7, 10],
            [6, 2, 6, 7, 0, 7, 12],
            [4, 4, 5, 6, 6, 0, 6],
            [2, 4, 1, 3, 1, 7, 0],
        ]
    )
    pairs = [(i, j) for i in range(7) for j in range(i)]
    member, counts = np.zeros((21, 7), bool), np.zeros((21, 7))
    for row, (i, j) in enumerate(pairs):
        member[row, [i, j]] = True
        counts[row, [i, j]] = wins[i, j], wins[j, i]
    strengths = luce(counts, member)
    np.testing.assert_allclose(
        strengths - strengths[-1], [1.5814, 1.4364, 1.2945, 1.2476, 1.1077, 0.6839, 0], atol=5e-5
    )
    # all at once: the shares themselves
    together = luce(np.array([[60.0, 30.0, 10.0]]), np.ones((1, 3), bool))
    np.testing.assert_allclose(np.exp(together) / np.exp(together).sum(), [0.6, 0.3, 0.1], atol=1e-9)

    # Fleiss 1971's measure, the example everybody prints: 10 subjects, 14 raters, 5 categories
    table = "00 00 00 00 14  00 02 06 04 02  00 00 03 05 06  00 03 09 02 00  02 02 08 01 01 "
    table += "07 07 00 00 00  03 02 06 03 00  02 05 03 02 02  06 05 02 01 00  00 02 02 03 07"
    assert fleiss_kappa(np.array(table.split(), int).reshape(10, 5)) == pytest.approx(0.210, abs=5e-4)

    # Krippendorff, Computing Krippendorff's alpha-reliability (2011), C: nominal data with missing values
    observers = ["123321412000", "123322412503", "033323422510", "123324412510"]
    counts = np.array([[[o[unit] for o in observers].count(str(value)) for value in range(1, 6)] for unit in range(12)])
    assert krippendorff_alpha(counts) == pytest.approx(0.743, abs=5e-4)

    # all votes alike: resamples are too, and must not pass for certainty
    votes = [Choice(rater, photo, (0, 1, 2), photo % 2) for rater in range(6) for photo in range(6)]
    found = preferences(votes, 3)
    assert [share.value for share in found.shares] == [0.5, 0.5, 0]
    assert (found.shares[2].low, found.shares[2].high) == (found.wilson[2].low, found.wilson[2].high)
    assert found.shares[2].high > 0.09
    assert [math.isfinite(strength.low) for strength in found.strengths] == [True, True, False]

    found = wilson(10, 100)  # Newcombe 1998's method 3
    assert (found.low, found.high) == pytest.approx((0.0552, 0.1744), abs=5e-5)


def test_shares_strengths_and_agreement_by_hand() -> None:
    asked = [((0, 1), 0)] * 3 + [((0, 1), 1)] + [((1, 2), 1)] * 2 + [((0, 2), 2)] * 2
    votes = [Choice(i % 3, i % 2, offered, chosen) for i, (offered, chosen) in enumerate(asked)]
    found = preferences(votes, 3)
    assert (found.votes.tolist(), found.offered.tolist()) == ([3, 3, 2], [6, 6, 4])
    assert [share.value for share in found.shares] == [0.5, 0.5, 0.5]
    assert found.chance.tolist() == [0.5, 0.5, 0.5]
    two = preferences([Choice(i, 0, (0, 1), int(i == 3)) for i in range(4)], 2)
    assert two.beats[0][1].value == pytest.approx(3.5 / 5)  # half a vote is added to each
    assert two.strengths[0].value - two.strengths[1].value == pytest.approx(math.log(3.5 / 1.5))
    assert [rank.value for rank in two.ranks] == [1, 2]

    # 400 votes that are 20 opinions, of raters or on photos: intervals as wide as those of 20 votes
    half = 1.96 * math.sqrt(0.25 / 20)
    for chosen in (lambda rater, photo: rater % 2, lambda rater, photo: photo % 2):
        votes = [Choice(i, j, (0, 1), chosen(i, j)) for i in range(20) for j in range(20)]
        share = preferences(votes, 2).shares[0]
        assert (share.low, share.high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.03)

    for mode, chance in (("choice", 1 / 3), ("pairs", 1 / 2)):  # one of three pairs of raters agrees
        study = Study("", "", mode, ("a", "b", "c"), ())
        agreement = _agreement(study, [Choice(i, j, (0, 1), int(i == 2)) for i in range(3) for j in range(2)])
        assert agreement is not None
        assert (agreement.observed, agreement.chance) == pytest.approx((1 / 3, chance))
