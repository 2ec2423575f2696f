"""Circles in a square, the plain way: a grid of points, each circle as large as half the way to its nearest neighbour."""

import math

MARGIN = 1e-12


def start(count, attempt):
    """The centres, on a square grid."""
    side = math.ceil(math.sqrt(count))
    return [[(k % side + 0.5) / side, (k // side + 0.5) / side] for k in range(count)]


def settle(points, radii):
    """Radii that are valid whatever the points are."""
    settled = []
    for i, (x, y) in enumerate(points):
        radius = min(x, y, 1 - x, 1 - y)
        for j, other in enumerate(points):
            if j != i:
                radius = min(radius, math.dist(points[i], other) / 2)
        settled.append(max(0.0, radius - MARGIN))
    return settled


def improve(points, radii):
    """Moves the circles; here, not at all."""
    return points, radii


def attempt_once(count, attempt):
    """One whole try."""
    points = start(count, attempt)
    radii = settle(points, [0.0] * count)
    points, radii = improve(points, radii)
    return points, settle(points, radii)


def pack(count):
    """The task's entry point."""
    points, radii = attempt_once(count, 0)
    return [(x, y, radius) for (x, y), radius in zip(points, radii)]
