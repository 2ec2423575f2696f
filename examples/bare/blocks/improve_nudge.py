"""Nudges one circle at a time to a place near by where it can be larger."""

import math
import random

NUDGES = 800
NUDGE = 0.1


def improve(points, radii):
    chance = random.Random(len(points))
    for step in range(NUDGES):
        i = chance.randrange(len(points))
        reach = NUDGE * (1 - step / NUDGES)
        place = [points[i][0] + chance.uniform(-reach, reach), points[i][1] + chance.uniform(-reach, reach)]
        limit = min(place[0], place[1], 1 - place[0], 1 - place[1])
        for j in range(len(points)):
            if limit <= radii[i]:
                break
            if j != i:
                limit = min(limit, math.dist(place, points[j]) - radii[j])
        if limit > radii[i]:
            points[i], radii[i] = place, limit
    return points, radii
