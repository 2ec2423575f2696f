"""Tries several times and keeps the best."""

RESTARTS = 3


def pack(count):
    best = []
    for attempt in range(RESTARTS):
        points, radii = attempt_once(count, attempt)
        if sum(radii) > sum(circle[2] for circle in best):
            best = [(x, y, radius) for (x, y), radius in zip(points, radii)]
    return best
