"""Colour at half the resolution, as nearly every codec has it. The three functions belong together."""

import numpy as np


def halved(plane):
    height, width = plane.shape
    plane = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    return (plane[0::2, 0::2] + plane[1::2, 0::2] + plane[0::2, 1::2] + plane[1::2, 1::2]) / 4


def split(frame):
    red, green, blue = (frame[:, :, k].astype(np.float32) for k in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return [luma - 128, halved(0.564 * (blue - luma)), halved(0.713 * (red - luma))]


def plane_shapes(height, width):
    half = ((height + 1) // 2, (width + 1) // 2)
    return [(height, width), half, half]


def join(planes, height, width):
    luma = planes[0] + 128
    cb, cr = (plane.repeat(2, axis=0).repeat(2, axis=1)[:height, :width] for plane in planes[1:])
    frame = np.stack([luma + 1.402 * cr, luma - 0.344 * cb - 0.714 * cr, luma + 1.772 * cb], axis=2)
    return np.clip(np.round(frame), 0, 255).astype(np.uint8)
