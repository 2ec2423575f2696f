"""An arithmetic coder whose probabilities learn, from frame to frame too, how likely each number is where it stands.

The coder is that of LZMA (binary, 11 bits of probability, carry by a cache). All functions belong together.
"""

import numpy as np

# The higher, the slower the probabilities learn.
PATIENCE = 4
MODEL = {}
ZIGZAG = sorted(range(64), key=lambda k: (k // 8 + k % 8, k // 8 if (k // 8 + k % 8) % 2 else k % 8))


class Encoder:
    def __init__(self):
        self.low, self.range, self.cache, self.pending, self.bytes = 0, 0xFFFFFFFF, 0, 1, bytearray()

    def shift(self):
        if self.low < 0xFF000000 or self.low > 0xFFFFFFFF:
            carry = self.low >> 32
            self.bytes.append((self.cache + carry) & 0xFF)
            self.bytes.extend(((0xFF + carry) & 0xFF,) * (self.pending - 1))
            self.pending, self.cache = 0, (self.low >> 24) & 0xFF
        self.pending += 1
        self.low = (self.low << 8) & 0xFFFFFFFF

    def bit(self, context, value):
        chance = MODEL.get(context, 1024)
        bound = (self.range >> 11) * chance
        if value:
            self.low += bound
            self.range -= bound
            MODEL[context] = chance - (chance >> PATIENCE)
        else:
            self.range = bound
            MODEL[context] = chance + ((2048 - chance) >> PATIENCE)
        while self.range < 1 << 24:
            self.range = (self.range << 8) & 0xFFFFFFFF
            self.shift()
        return value

    def finish(self):
        for _ in range(5):
            self.shift()
        return bytes(self.bytes[1:]).rstrip(b"\0")


class Decoder:
    def __init__(self, data):
        self.data, self.at, self.range, self.code = data, 4, 0xFFFFFFFF, int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def bit(self, context, value):
        chance = MODEL.get(context, 1024)
        bound = (self.range >> 11) * chance
        if self.code < bound:
            value, self.range = 0, bound
            MODEL[context] = chance + ((2048 - chance) >> PATIENCE)
        else:
            value, self.code, self.range = 1, self.code - bound, self.range - bound
            MODEL[context] = chance - (chance >> PATIENCE)
        while self.range < 1 << 24:
            following = self.data[self.at] if self.at < len(self.data) else 0
            self.code, self.range, self.at = (self.code << 8 | following) & 0xFFFFFFFF, self.range << 8, self.at + 1
        return value


def number(coder, context, value):
    """A number from 0 up: small ones one bit after the other, large ones by their length."""
    for step in range(12):
        if not coder.bit((context, step), int(value > step)):
            return step
    rest, length = value - 12, 0
    while coder.bit((context, "length", length), int(rest + 1 >> length + 1 > 0)):
        length += 1
    found = 1
    for place in range(length - 1, -1, -1):
        found = found << 1 | coder.bit((context, "rest", length), rest + 1 >> place & 1)
    return found + 11


def blocks(coder, levels):
    """Walks over all numbers; the encoder reads them there, the decoder writes them."""
    for plane, grid in enumerate(levels):
        kind = min(plane, 1)
        rows, columns = grid.shape[:2]
        ends, coded = [0] * columns, grid.any(axis=(2, 3)).tolist()
        for row in range(rows):
            left = 0
            for column in range(columns):
                near, left = min(left, 4) + min(ends[column], 4), 0
                ends[column] = 0
                if not coder.bit((kind, "any", near), int(coded[row][column])):
                    continue
                block = grid[row, column].ravel().tolist()
                end = max((n + 1 for n, k in enumerate(ZIGZAG) if block[k]), default=0)
                end = number(coder, (kind, "end", near), end)
                large = 0
                for n in range(end - 1, -1, -1):
                    k = ZIGZAG[n]
                    size = number(coder, (kind, min(n, 9), min(large, 2), n == end - 1), abs(block[k]))
                    negative = size and coder.bit("sign", int(block[k] < 0))
                    block[k] = -size if negative else size
                    large = max(large - 1, 0) if size < 2 else 2
                grid[row, column] = np.array(block, dtype=np.int16).reshape(8, 8)
                left = ends[column] = end


def encode(levels):
    coder = Encoder()
    blocks(coder, levels)
    return coder.finish()


def decode(data, shapes):
    levels = [np.zeros((-(-height // 8), -(-width // 8), 8, 8), dtype=np.int16) for height, width in shapes]
    blocks(Decoder(data), levels)
    return levels
