"""Packs one half and mirrors it: half the work, where the count is even."""

HALF = 0.5


def pack(count):
    points, radii = attempt_once(count // 2, 0)
    circles = []
    for (x, y), radius in zip(points, radii):
        circles.append((x * HALF, y * HALF, radius * HALF))
        circles.append((1 - x * HALF, 1 - y * HALF, radius * HALF))
    return circles
