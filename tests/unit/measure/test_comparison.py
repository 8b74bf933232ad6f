import numpy as np
import pandas as pd
import pytest

from apit.measure.comparison import compare, margin_of


def means(**experiments):
    rows = [
        (name, seed, "si_snr_i", value)
        for name, values in experiments.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["experiment", "seed", "aggregate", "mean"])


def verdicts(before, after):
    return dict(compare(before, after)[["experiment", "verdict"]].itertuples(index=False))


def test_lines_are_the_same_within_noise_not_known_or_different():
    before = means(pit=[8.0, 9.0, 10.0], alone=[5.0], mixture=[0.001], gone=[1.0], equal=[3.0])
    after = means(pit=[9.5, 10.0, 11.0], alone=[5.2], mixture=[0.002], equal=[3.001], new=[2.0])
    assert verdicts(before, after) == {
        "pit": "within the noise between seeds",
        "alone": "not known: one seed",
        "mixture": "the same",  # as tables print it
        "equal": "the same",
        "new": "different",
        "gone": "different",
    }
    assert verdicts(before, means(pit=[14.0, 14.0, 14.0]))["pit"] == "different"
    assert verdicts(means(mixture=[0.0]), means(mixture=[0.1]))["mixture"] == "different"


def test_the_margin_is_that_of_two_means_of_seeds():
    # t(0.975; 2) = 4.303, deviation 1, and sqrt(1/3 + 1/2) = 0.9129
    assert margin_of(np.array([8.0, 9, 10]), np.array([1.0, 1])) == pytest.approx(3.928, abs=1e-3)
    assert np.isnan(margin_of(np.array([8.0]), np.array([8.0])))


def test_two_runs_of_the_same_seldom_differ():
    generator = np.random.default_rng(0)
    draws = generator.normal(size=(4000, 2, 3))
    beyond = [abs(a.mean() - b.mean()) > margin_of(a, b) for a, b in draws]
    assert 0.03 < np.mean(beyond) < 0.07
