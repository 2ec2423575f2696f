"""Looks where each block came from in the frame before. The two functions belong together."""

import numpy as np

REACH = 4
PATCH = 16
# How much better a movement must be than standing still.
LAZINESS = 500.0


def patches(shape):
    for top in range(0, shape[0], PATCH):
        for left in range(0, shape[1], PATCH):
            yield top, left


def search(planes, frame_index):
    if frame_index == 0:
        return b""
    luma, before = planes[0], MEMORY["planes"][0]
    height, width = luma.shape
    padded = np.pad(before, REACH, mode="edge")
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    best = np.full((rows, columns), np.inf)
    moves = np.zeros((rows, columns, 2), dtype=np.int8)
    for down in range(-REACH, REACH + 1):
        for right in range(-REACH, REACH + 1):
            moved = padded[REACH + down : REACH + down + height, REACH + right : REACH + right + width]
            error = np.pad(np.abs(luma - moved), ((0, rows * PATCH - height), (0, columns * PATCH - width)))
            cost = error.reshape(rows, PATCH, columns, PATCH).sum(axis=(1, 3)) + LAZINESS * ((down, right) != (0, 0))
            better = cost < best
            best[better] = cost[better]
            moves[better] = (down, right)
    return zlib.compress(moves.tobytes(), 9)


def predict(side, shapes, frame_index):
    if frame_index == 0:
        return [np.zeros(shape, dtype=np.float32) for shape in shapes]
    moves = np.frombuffer(zlib.decompress(side), dtype=np.int8).reshape(-1, 2)
    expected = []
    for before, shape in zip(MEMORY["planes"], shapes):
        scale = round(shapes[0][0] / shape[0])
        padded = np.pad(before, REACH, mode="edge")
        plane = np.empty(shape, dtype=np.float32)
        for (top, left), (down, right) in zip(patches(shapes[0]), moves):
            top, left, size = top // scale, left // scale, PATCH // scale
            height, width = plane[top : top + size, left : left + size].shape
            y, x = REACH + top + int(down) // scale, REACH + left + int(right) // scale
            plane[top : top + size, left : left + size] = padded[y : y + height, x : x + width]
        expected.append(plane)
    return expected
