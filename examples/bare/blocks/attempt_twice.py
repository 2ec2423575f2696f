"""A whole try whose result is improved once more from where it ended."""

ROUNDS = 2


def attempt_once(count, attempt):
    points = start(count, attempt)
    radii = settle(points, [0.0] * count)
    for _ in range(ROUNDS):
        points, radii = improve(points, radii)
        radii = settle(points, radii)
    return points, radii
