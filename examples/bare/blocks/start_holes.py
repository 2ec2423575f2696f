"""Each centre where there is most room, looked for on a raster."""

import math

RASTER = 24


def start(count, attempt):
    room = {}
    for k in range(RASTER * RASTER):
        x, y = (k % RASTER + 0.5) / RASTER, (k // RASTER + 0.5) / RASTER
        room[(x, y)] = min(x, y, 1 - x, 1 - y)
    points = []
    for _ in range(count):
        best = max(room, key=room.get)
        points.append(list(best))
        for place in room:
            room[place] = min(room[place], math.dist(place, best) / 2)
    return points
