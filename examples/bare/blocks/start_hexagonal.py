"""Centres in rows, every other row shifted by half a step."""

import math

ROW_HEIGHT = 0.93


def start(count, attempt):
    columns = max(1, round(math.sqrt(count * ROW_HEIGHT)))
    rows = math.ceil(count / columns)
    points = []
    for k in range(count):
        row, column = divmod(k, columns)
        shift = 0.25 if row % 2 else -0.25
        points.append([(column + 0.5 + shift) / columns, (row + 0.5) / rows])
    return points
