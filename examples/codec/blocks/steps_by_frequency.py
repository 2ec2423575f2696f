"""Fine detail is quantised more coarsely than what the eye, and the measure, notice."""

import numpy as np

SLOPE = 0.12
SLOPE_CHROMA = 0.25


def steps(k):
    frequency = np.add.outer(np.arange(8), np.arange(8))
    if k == 0:
        return (STEP_LUMA * (1 + SLOPE * frequency)).astype(np.float32)
    return (STEP_CHROMA * (1 + SLOPE_CHROMA * frequency)).astype(np.float32)
