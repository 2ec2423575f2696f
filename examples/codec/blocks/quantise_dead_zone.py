"""Rounds towards nothing: small numbers are cheap, and most are small."""

import numpy as np

ROUNDING = 0.3


def quantise(coefficients, k):
    scaled = coefficients / steps(k)
    return (np.sign(scaled) * np.floor(np.abs(scaled) + ROUNDING)).astype(np.int16)
