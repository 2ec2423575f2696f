"""Trains a small character model in plain Python, and dies in the middle of the third epoch.

It is here to be diagnosed: `coroner run -- python3 examples/failing/train.py`. The reason is in the log, but not in
its last lines, and the line that looks worst is not it.
"""

import argparse
import atexit
import math
import random
import sys
import time

CORPUS = """\
the loss went down and then it went up again
we changed the seed and the result was gone
nobody had written down which commit it was
"""
# Somebody cleaned the third shard with another script.
SHARDS = [CORPUS, CORPUS, CORPUS.replace("seed", "se\u00e9d")]


class Vocabulary:
    def __init__(self, text):
        self.index = {char: number for number, char in enumerate(sorted(set(text)))}

    def encode(self, text):
        return [self.index[char] for char in text]


class Bigrams:
    """Counts with a learning rate: enough of a model to have a loss."""

    def __init__(self, size):
        self.logits = [[0.0] * size for _ in range(size)]

    def step(self, before, after, rate):
        row = self.logits[before]
        top = max(row)
        weights = [math.exp(value - top) for value in row]
        total = sum(weights)
        loss = -math.log(weights[after] / total)
        for number, weight in enumerate(weights):
            row[number] -= rate * (weight / total - (number == after))
        return loss


def shut_down():
    """What every framework prints on its way out, whatever it died of."""
    for worker in range(4):
        print(f"loader-{worker}: ERROR: terminated while waiting for the trainer", file=sys.stderr)
    print("metrics: flushing 3 buffered events", file=sys.stderr)
    print("metrics: WARNING: run was not finished, marking it as crashed", file=sys.stderr)
    print("metrics: ERROR: could not upload 3 events: writer closed before finish()", file=sys.stderr)


def batches(text, vocabulary, size):
    lines = text.splitlines()
    random.shuffle(lines)
    for line in lines * 8:
        codes = vocabulary.encode(line)
        for start in range(0, len(codes) - 1, size):
            yield codes[start : start + size + 1]


def train(epochs, rate, size):
    vocabulary = Vocabulary(CORPUS)
    model = Bigrams(len(vocabulary.index))
    step = 0
    for epoch in range(1, epochs + 1):
        print(f"epoch {epoch}/{epochs}: shard {epoch - 1:05}, {len(vocabulary.index)} symbols, lr {rate}", flush=True)
        for batch in batches(SHARDS[(epoch - 1) % len(SHARDS)], vocabulary, size):
            losses = [model.step(a, b, rate) for a, b in zip(batch, batch[1:])]
            step += 1
            if step % 10 == 0:
                mean = sum(losses) / max(len(losses), 1)
                print(f"step {step:5}  loss {mean:.4f}", flush=True)
            time.sleep(0.003)
        print(f"epoch {epoch}/{epochs}: done after {step} steps", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=0.3)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    random.seed(17)
    atexit.register(shut_down)
    train(options.epochs, options.lr, options.batch)
