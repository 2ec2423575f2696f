"""Blows all circles up at once, while what overlaps pushes apart, harder and harder."""

import math

STEPS = 60
RATE = 0.2
SOFT = 3.0
HARD = 60.0


def improve(points, radii):
    count = len(points)
    for step in range(STEPS):
        push = SOFT * (HARD / SOFT) ** (step / STEPS)
        force = [[0.0, 0.0, 1.0] for _ in points]
        for i in range(count):
            x, y = points[i]
            for gap, axis, sign in ((x, 0, 1), (1 - x, 0, -1), (y, 1, 1), (1 - y, 1, -1)):
                if gap < radii[i]:
                    force[i][axis] += sign * 2 * push * (radii[i] - gap)
                    force[i][2] -= 2 * push * (radii[i] - gap)
            for j in range(i):
                across, up = x - points[j][0], y - points[j][1]
                distance = math.hypot(across, up)
                overlap = 2 * push * (radii[i] + radii[j] - distance)
                if overlap > 0:
                    force[i][0] += across / distance * overlap
                    force[i][1] += up / distance * overlap
                    force[j][0] -= across / distance * overlap
                    force[j][1] -= up / distance * overlap
                    force[i][2] -= overlap
                    force[j][2] -= overlap
        for i in range(count):
            points[i] = [points[i][0] + RATE / push * force[i][0], points[i][1] + RATE / push * force[i][1]]
            radii[i] = max(0.0, radii[i] + RATE / push * force[i][2])
    return points, radii
