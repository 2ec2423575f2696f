"""A whole try that is improved for as long as that gains something worth while."""

WORTH = 0.003


def attempt_once(count, attempt):
    points = start(count, attempt)
    radii = settle(points, [0.0] * count)
    gain = WORTH
    while gain >= WORTH:
        before = sum(radii)
        points, radii = improve(points, radii)
        radii = settle(points, radii)
        gain = sum(radii) - before
    return points, radii
