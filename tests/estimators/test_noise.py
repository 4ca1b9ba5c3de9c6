"""The measurements of bench/noise.py on a few batches."""

import pytest

from bench.noise import noise_by_parts, noise_by_size, trained


@pytest.fixture(scope="module")
def place():
    return trained(1)


def test_the_noise_of_a_gradient_is_the_variance_over_the_batch_size(place):
    shares = noise_by_size(place, draws=40).iloc[:, 2].str.split(" ").str[0].astype(float)
    assert shares.between(0.6, 1.5).all()


def test_the_ratio_of_the_sheet_is_no_noise_scale_and_what_follows_from_it_is(place):
    made = noise_by_parts(place, draws=40).set_index("parts k")
    true = float(made["B_simple"].iloc[0])
    assert (made["the sheet's ratio R, mean"].astype(float) < true / 10).all()
    assert made["B R / (k - 1 - R), of that mean"].astype(float).between(true / 1.5, 1.5 * true).all()
