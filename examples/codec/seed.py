"""A codec of still pictures: each frame by itself, a cosine transform of 8 by 8 blocks, one quantiser, zlib."""

import struct
import zlib

import numpy as np

STEP_LUMA = 30.0
STEP_CHROMA = 40.0
EFFORT = 6

MEMORY = {}


def split(frame):
    """Luma and two chromas of an RGB frame, as planes around 0."""
    red, green, blue = (frame[:, :, k].astype(np.float32) for k in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return [luma - 128, 0.564 * (blue - luma), 0.713 * (red - luma)]


def join(planes, height, width):
    """The RGB frame again."""
    luma, cb, cr = planes
    luma = luma + 128
    frame = np.stack([luma + 1.402 * cr, luma - 0.344 * cb - 0.714 * cr, luma + 1.772 * cb], axis=2)
    return np.clip(np.round(frame), 0, 255).astype(np.uint8)


def plane_shapes(height, width):
    """The shapes of what split() gives."""
    return [(height, width)] * 3


def cosines():
    """The matrix of the cosine transform."""
    k = np.arange(8)
    matrix = np.cos(np.pi * (2 * k[None, :] + 1) * k[:, None] / 16) / 2
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def transform(plane):
    """Coefficients of the plane's blocks, as an array of rows x columns x 8 x 8."""
    height, width = plane.shape
    padded = np.pad(plane, ((0, -height % 8), (0, -width % 8)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // 8, 8, padded.shape[1] // 8, 8).swapaxes(1, 2)
    return cosines() @ blocks @ cosines().T


def inverse(coefficients, shape):
    """The plane of those coefficients."""
    blocks = cosines().T @ coefficients @ cosines()
    rows, columns = blocks.shape[:2]
    return blocks.swapaxes(1, 2).reshape(rows * 8, columns * 8)[: shape[0], : shape[1]]


def steps(k):
    """How coarse each coefficient of plane k is."""
    return np.full((8, 8), STEP_LUMA if k == 0 else STEP_CHROMA, dtype=np.float32)


def quantise(coefficients, k):
    """Coefficients as whole numbers."""
    return np.round(coefficients / steps(k)).astype(np.int16)


def dequantise(levels, k):
    """What those numbers stand for."""
    return levels.astype(np.float32) * steps(k)


def search(planes, frame_index):
    """What the encoder finds out for predict(), as bytes."""
    return b""


def predict(side, shapes, frame_index):
    """What both sides expect of the frame."""
    return [np.zeros(shape, dtype=np.float32) for shape in shapes]


def encode(levels):
    """Whole numbers as bytes."""
    return zlib.compress(np.concatenate([level.ravel() for level in levels]).astype("<i2").tobytes(), EFFORT)


def decode(data, shapes):
    """Those numbers again."""
    numbers = np.frombuffer(zlib.decompress(data), dtype="<i2")
    levels, at = [], 0
    for height, width in shapes:
        rows, columns = -(-height // 8), -(-width // 8)
        levels.append(numbers[at : at + rows * columns * 64].reshape(rows, columns, 8, 8))
        at += rows * columns * 64
    return levels


def rebuild(expected, levels, shapes):
    """What the decoder will see; the encoder does the same, so that both remember the same."""
    planes = []
    for k, shape in enumerate(shapes):
        planes.append(expected[k] + inverse(dequantise(levels[k], k), shape))
    MEMORY["planes"] = planes
    return planes


def compress_video_frame(frame, frame_index, config):
    planes = split(frame)
    shapes = [plane.shape for plane in planes]
    side = search(planes, frame_index)
    expected = predict(side, shapes, frame_index)
    levels = [quantise(transform(planes[k] - expected[k]), k) for k in range(len(planes))]
    rebuild(expected, levels, shapes)
    return struct.pack("<H", len(side)) + side + encode(levels)


def decompress_video_frame(data, frame_index, config):
    shapes = plane_shapes(config["height"], config["width"])
    (length,) = struct.unpack_from("<H", data)
    expected = predict(data[2 : 2 + length], shapes, frame_index)
    planes = rebuild(expected, decode(data[2 + length :], shapes), shapes)
    return join(planes, config["height"], config["width"])
