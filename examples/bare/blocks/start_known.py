"""Rows that are known to be good for the counts that the task names."""

ROWS = {12: (4, 3, 4, 1), 26: (5, 5, 6, 5, 5)}


def start(count, attempt):
    rows = ROWS[count]
    points = []
    for row, width in enumerate(rows):
        for column in range(width):
            points.append([(column + 0.5) / width, (row + 0.5) / len(rows)])
    return points
