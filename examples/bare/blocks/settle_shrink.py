"""Keeps the radii that it is given as far as they fit: what overlaps shrinks, what has room grows again."""

import math

GROWTH_SWEEPS = 3


def settle(points, radii):
    count = len(points)
    radii = [max(0.0, min(r, x, y, 1 - x, 1 - y)) for r, (x, y) in zip(radii, points)]
    for i in range(count):
        for j in range(i):
            distance = math.dist(points[i], points[j])
            if radii[i] + radii[j] > distance:
                factor = distance / (radii[i] + radii[j])
                radii[i] *= factor
                radii[j] *= factor
    for _ in range(GROWTH_SWEEPS):
        for i in sorted(range(count), key=lambda k: -radii[k]):
            x, y = points[i]
            limit = min(x, y, 1 - x, 1 - y)
            for j in range(count):
                if j != i:
                    limit = min(limit, math.dist(points[i], points[j]) - radii[j])
            radii[i] = max(0.0, limit)
    return radii
