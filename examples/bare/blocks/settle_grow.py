"""Radii that start valid and then grow as far as the neighbours let them, the largest first."""

import math

SWEEPS = 3
SHARE = 0.5


def settle(points, radii):
    radii = []
    for i, (x, y) in enumerate(points):
        nearest = min(math.dist(points[i], points[j]) for j in range(len(points)) if j != i)
        radii.append(max(0.0, min(x, y, 1 - x, 1 - y, nearest * SHARE)))
    for _ in range(SWEEPS):
        for i in sorted(range(len(points)), key=lambda k: -radii[k]):
            x, y = points[i]
            limit = min(x, y, 1 - x, 1 - y)
            for j in range(len(points)):
                if j != i:
                    limit = min(limit, math.dist(points[i], points[j]) - radii[j])
            radii[i] = max(0.0, limit)
    return radii
