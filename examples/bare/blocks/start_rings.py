"""Centres on a spiral from the middle outwards, like the seeds of a sunflower."""

import math

TURN = 2.399963
SPREAD = 0.46


def start(count, attempt):
    points = []
    for k in range(count):
        distance = SPREAD * math.sqrt(k / (count - 1))
        angle = TURN * k + attempt
        points.append([0.5 + distance * math.cos(angle), 0.5 + distance * math.sin(angle)])
    return points
