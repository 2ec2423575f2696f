"""What scripts/bench-desk measures with: servers and what they use, and many clients in one thread."""

import os
import random
import re
import selectors
import socket
import statistics
import subprocess
import time
import urllib.request
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


class Process:
    """A server, what it has used so far, and its end."""

    def __init__(self, command, env=None, wait_for=None, log=None):
        out = open(log, "wb") if log else subprocess.DEVNULL
        self.popen = subprocess.Popen([str(word) for word in command], env=env, stdout=out if log else subprocess.PIPE,
                                      stderr=subprocess.STDOUT if log else subprocess.DEVNULL)

    def all(self):
        """It and its children."""
        found, todo = [], [self.popen.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            try:
                for thread in os.listdir(f"/proc/{pid}/task"):
                    todo += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
            except OSError:
                pass
        return found

    def cpu(self):
        """Seconds of processor time so far."""
        total = 0
        for pid in self.all():
            try:
                words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            total += sum(map(int, words[11:15]))
        return total / TICK

    def memory(self, what="VmRSS"):
        """MiB that are resident; VmHWM: at the most so far."""
        total = 0
        for pid in self.all():
            try:
                found = re.search(rf"{what}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
            except OSError:
                continue
            total += int(found[1]) if found else 0
        return total / 1024

    def forget_peak(self):
        for pid in self.all():
            try:
                Path(f"/proc/{pid}/clear_refs").write_text("5")
            except OSError:
                pass

    def end(self):
        self.popen.terminate()
        try:
            self.popen.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.popen.kill()


def serve(binary, store):
    """`coroner serve` over a store, and where it listens."""
    process = Process([binary, "serve", "--listen", "127.0.0.1:0", "--offline", "--store", f"sqlite:{store}"])
    line = process.popen.stdout.readline().decode()
    port = int(line.strip().rstrip("/").rsplit(":", 1)[1])
    return process, port


class Client:
    """One connection that is kept, and the request that is on it."""

    def __init__(self, address):
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.todo, self.got, self.need = b"", bytearray(), None

    def send(self, request):
        self.got.clear()
        self.need = None
        self.began = time.perf_counter()
        self.todo = request
        self.push()

    def push(self):
        if self.todo:
            try:
                self.todo = self.todo[self.socket.send(self.todo):]
            except BlockingIOError:
                pass

    def read(self):
        """The answer, once it is whole: status, head, body."""
        piece = self.socket.recv(1 << 16)
        if not piece:
            raise ConnectionError("the server closed the connection")
        self.got += piece
        if self.need is None:
            end = self.got.find(b"\r\n\r\n")
            if end < 0:
                return None
            self.head = bytes(self.got[:end]).lower()
            self.body_at = end + 4
            length = re.search(rb"\r\ncontent-length: *(\d+)", self.head)
            self.need = self.body_at + int(length[1]) if length else -1
        if self.need >= 0 and len(self.got) < self.need:
            return None
        if self.need < 0 and not self.got.endswith(b"0\r\n\r\n"):
            return None
        return int(self.head[9:12]), self.head, self.got


def load(address, clients, talk, seconds):
    """All clients ask without a pause for so long. `talk` begins a conversation: it yields requests, is sent the answers, and
    yields None when one piece of work is done. Seconds of each answer, and what was said."""
    select = selectors.DefaultSelector()
    times, server, sizes, wrong, done = [], [], [], {}, 0
    begin = time.perf_counter()
    until = begin + seconds

    def watch(client):
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.todo else 0)
        select.modify(client.socket, events, client)

    for _ in range(clients):
        client = Client(address)
        client.talk = talk()
        select.register(client.socket, selectors.EVENT_READ, client)
        client.send(next(client.talk))
        watch(client)
    while select.get_map():
        for key, events in select.select(30):
            client = key.data
            if events & selectors.EVENT_WRITE:
                client.push()
                if not client.todo:
                    watch(client)
            if not events & selectors.EVENT_READ:
                continue
            answer = client.read()
            if answer is None:
                continue
            status, head, got = answer
            now = time.perf_counter()
            times.append(now - client.began)
            sizes.append(len(got))
            found = re.search(rb"server-timing: desk;dur=([\d.]+)", head)
            if found:
                server.append(float(found[1]) / 1000)
            if status >= 400:
                wrong[status] = bytes(got[:600])
            asked = client.talk.send(got)
            if asked is None:
                done += 1
                if now >= until:
                    select.unregister(client.socket)
                    client.socket.close()
                    continue
                asked = next(client.talk)
            client.send(asked)
            if client.todo:
                watch(client)
    took = time.perf_counter() - begin
    return {"times": times, "server": server, "took": took, "wrong": wrong, "bytes": statistics.median(sizes), "done": done}


def get(path, gzipped=True):
    accept = "accept-encoding: gzip\r\n" if gzipped else ""
    kind = "application/json" if path.startswith(("/api", "/admin")) else "text/html"
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{accept}accept: {kind}\r\n\r\n".encode()


def any_of(requests, seed=1):
    """Conversations of one question, any of these."""
    chance = random.Random(seed)

    def talk():
        while True:
            yield chance.choice(requests)
            yield None
    return talk


def of(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] * 1000 if values else float("nan")


def fetch(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return answer.read()


def row(*cells):
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)
