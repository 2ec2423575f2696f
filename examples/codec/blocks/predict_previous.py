"""Expects that nothing has changed since the frame before."""

import numpy as np


def predict(side, shapes, frame_index):
    if frame_index == 0:
        return [np.zeros(shape, dtype=np.float32) for shape in shapes]
    return MEMORY["planes"]
