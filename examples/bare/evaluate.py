"""Asks for packings of several sizes and measures them. Nothing counts before every one of them is valid."""

import math

from coroner_task import task

SHOWN = (26, 12)
HELD_OUT = (7, 19, 31)
TOLERANCE = 1e-9


def checked(answer, count):
    """The circles of an answer, if it is one."""
    if not isinstance(answer, (list, tuple)):
        raise task.Invalid(f"pack({count}) returned {type(answer).__name__} instead of a list of (x, y, radius)")
    if len(answer) != count:
        raise task.Invalid(f"pack({count}) returned {len(answer)} circles instead of {count}")
    circles = []
    for k, circle in enumerate(answer):
        if not isinstance(circle, (list, tuple)) or len(circle) != 3:
            raise task.Invalid(f"circle {k} of pack({count}) is {circle!r:.80} instead of (x, y, radius)")
        if any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in circle):
            raise task.Invalid(f"circle {k} of pack({count}) is {circle!r:.80}: x, y and radius must be numbers")
        if not all(math.isfinite(v) for v in circle):
            raise task.Invalid(f"circle {k} of pack({count}) is not finite: {circle!r:.80}")
        x, y, radius = circle
        if radius < 0:
            raise task.Invalid(f"circle {k} of pack({count}) has the negative radius {radius:.6g}")
        outside = radius - min(x, y, 1 - x, 1 - y)
        if outside > TOLERANCE:
            raise task.Invalid(f"circle {k} of pack({count}) sticks out of the square by {outside:.3g}")
        circles.append((x, y, radius))
    for i, (x, y, radius) in enumerate(circles):
        for j in range(i):
            u, v, other = circles[j]
            overlap = radius + other - math.hypot(x - u, y - v)
            if overlap > TOLERANCE:
                raise task.Invalid(f"circles {j} and {i} of pack({count}) overlap by {overlap:.3g}")
    return circles


def evaluate(candidate, inputs):
    """The metrics of one candidate."""
    sums, shares, answers = {}, {}, {}
    counts = SHOWN + HELD_OUT
    for done, count in enumerate(counts):
        answers[count] = checked(candidate.pack(count), count)
        sums[count] = math.fsum(radius for _, _, radius in answers[count])
        shares[count] = sums[count] / math.sqrt(count / math.pi)
        task.progress(done + 1, len(counts))
    again = min(counts)
    if checked(candidate.pack(again), again) != answers[again]:
        raise task.Invalid(f"pack({again}) gave another answer when it was called a second time")

    def mean(of):
        return math.fsum(shares[count] for count in of) / len(of)

    return {
        "score": mean(counts),
        "sum_of_radii": sums[26],
        "shown": mean(SHOWN),
        "held_out": mean(HELD_OUT),
    }
