"""Moves one circle at a time, at first also to where it must be smaller, later ever more rarely."""

import math
import random

ANNEALING = 900
TEMPERATURE = 0.02
COOLING = 0.995
STRIDE = 0.08


def improve(points, radii):
    chance = random.Random(len(points))
    heat = TEMPERATURE
    for _ in range(ANNEALING):
        heat *= COOLING
        i = chance.randrange(len(points))
        place = [points[i][0] + chance.gauss(0, STRIDE), points[i][1] + chance.gauss(0, STRIDE)]
        limit = min(place[0], place[1], 1 - place[0], 1 - place[1])
        for j in range(len(points)):
            if j != i:
                limit = min(limit, math.dist(place, points[j]) - radii[j])
        if limit > 0 and chance.random() < math.exp((limit - radii[i]) / heat):
            points[i], radii[i] = place, limit
    return points, radii
