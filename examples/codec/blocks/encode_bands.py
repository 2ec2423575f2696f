"""Numbers of the same frequency beside each other, one byte each where that is enough. Both functions belong together."""

import zlib

import numpy as np

DEPTH = 9


def encode(levels):
    numbers = np.concatenate([level.reshape(-1, 64).T.ravel() for level in levels])
    low = np.clip(numbers, -127, 127).astype(np.int8)
    large = np.flatnonzero(np.abs(numbers) >= 127)
    body = low.tobytes() + numbers[large].astype("<i2").tobytes()
    return zlib.compress(body, DEPTH)


def decode(data, shapes):
    body = zlib.decompress(data)
    sizes = [-(-height // 8) * -(-width // 8) for height, width in shapes]
    total = 64 * sum(sizes)
    numbers = np.frombuffer(body[:total], dtype=np.int8).astype(np.int16)
    large = np.flatnonzero(np.abs(numbers) >= 127)
    numbers[large] = np.frombuffer(body[total:], dtype="<i2")
    levels, at = [], 0
    for size, (height, width) in zip(sizes, shapes):
        bands = numbers[at : at + 64 * size].reshape(64, size).T
        levels.append(bands.reshape(-(-height // 8), -(-width // 8), 8, 8))
        at += 64 * size
    return levels
