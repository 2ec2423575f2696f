"""The two sides of the border between evaluator and candidate, as plain processes: what passes, and what must not."""
import json
import os
import pathlib
import random
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent.parent.parent / "src" / "attempt" / "python"
WIRE = (HERE / "wire.py").read_text()
DRIVER = WIRE + (HERE / "driver.py").read_text()
TASK = WIRE + (HERE / "coroner_task.py").read_text()

wire = {}
exec(compile(WIRE, "wire.py", "exec"), wire)


def judged(candidate, evaluator, names=("f",), seconds=20.0, most=1 << 20, processes=("candidate",), functions=None):
    """Runs both and gives what the evaluator reports, and what each printed."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, text in {"driver.py": DRIVER, "coroner_task.py": TASK, "evaluate.py": evaluator}.items():
            (folder / name).write_text(text)
        (folder / "candidate.py").write_bytes(candidate if isinstance(candidate, bytes) else candidate.encode())
        report_ours, report_theirs = os.pipe()
        functions = functions or {name: processes[0] for name in names}
        running, described, theirs = [], [], []
        for i, name in enumerate(processes):
            a, b = socket.socketpair()
            orders = {"candidate": str(folder / "candidate.py"), "limit": seconds,
                      "names": [f for f, p in functions.items() if p == name]}
            running.append(start(folder, "driver.py", orders, {3: b.fileno()}))
            b.close()
            theirs.append(a)
            described.append({"name": name, "descriptor": 4 + i, "seconds": seconds})
        orders = {"name": "toy", "seed": 7, "config": {"k": 1}, "held_out": False, "most": most, "inputs": None,
                  "evaluator": str(folder / "evaluate.py"), "processes": described,
                  "functions": [{"name": f, "process": p} for f, p in functions.items()]}
        places = {3: report_theirs}
        places.update({4 + i: s.fileno() for i, s in enumerate(theirs)})
        judge = start(folder, "coroner_task.py", orders, places)
        os.close(report_theirs)
        for s in theirs:
            s.close()
        said = judge.communicate(timeout=60)[0].decode()
        with os.fdopen(report_ours) as file:
            report = [json.loads(line) for line in file]
        logs = []
        for process in running:
            try:
                logs.append(process.communicate(timeout=5)[0].decode(errors="replace"))
            except subprocess.TimeoutExpired:
                process.kill()
                logs.append(process.communicate()[0].decode(errors="replace"))
        return report, said, logs


def start(folder, script, orders, places):
    """Lays descriptors as the sandbox does."""
    moved = {to: os.dup(at) for to, at in places.items()}
    high = {to: os.fdopen(fd, "rb", closefd=False).fileno() for to, fd in moved.items()}
    lay = "import os,sys;" + "".join("os.dup2(%d,%d+100);" % (fd, to) for to, fd in high.items())
    lay += "".join("os.dup2(%d+100,%d);os.close(%d+100);" % (to, to, to) for to in high)
    lay += "os.execv(sys.executable,[sys.executable,'-I','-X','faulthandler']+sys.argv[1:])"
    process = subprocess.Popen([sys.executable, "-I", "-c", lay, str(folder / script), json.dumps(orders)], cwd=folder,
                               pass_fds=list(high.values()), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    for fd in moved.values():
        os.close(fd)
    return process


ASK = "from coroner_task import task, CandidateError\ndef evaluate(candidate, inputs):\n"


class Border(unittest.TestCase):
    def last(self, candidate, body, **more):
        evaluator = ASK + "".join("    %s\n" % line for line in body.splitlines())
        report, said, logs = judged(candidate, evaluator, **more)
        self.assertTrue(report, said)
        return report[-1], said, "".join(logs)

    def test_values_pass_and_metrics_come_back(self):
        candidate = "def f(*a, **k):\n    print('hello')\n    return a, k\n"
        body = ("value = [None, True, 1, -2.5, float('inf'), 'x\\ud800', b'\\0\\xff', (1, [2]), {'a': {'b': b'c'}}]\n"
                "a, k = candidate.f(*value, key=value)\n"
                "assert list(a) == value and k == {'key': value}, (a, k)\n"
                "task.progress(1, 2)\n"
                "return {'score': 1, 'other': float('nan')}")
        report, said, log = self.last(candidate, body)
        self.assertEqual(report["metrics"], [["score", "1.0"], ["other", "nan"]])
        self.assertEqual(report["calls"], 1)
        self.assertIn("hello", log)

    def test_an_exception_is_the_candidates_with_its_own_traceback(self):
        candidate = "def g(x):\n    return 1 / x\n\ndef f(x):\n    return g(x)\n"
        report, said, log = self.last(candidate, "return {'score': candidate.f(0)}")
        self.assertEqual(report["raised"]["type"], "ZeroDivisionError")
        self.assertEqual(report["raised"]["line"], 2)
        self.assertIn('File "candidate.py", line 5, in f\n    return g(x)', log)
        self.assertNotIn("driver.py", log)
        report, said, log = self.last(candidate, "try:\n    candidate.f(0)\nexcept CandidateError as e:\n    return {'score': 2 if e.type == 'ZeroDivisionError' else 0}")
        self.assertEqual(report["metrics"], [["score", "2.0"]])

    def test_what_does_not_load_says_why(self):
        for candidate, kind, text in [
            ("def f(:\n", "SyntaxError", "line 1"),
            ("import no_such_module\n", "ModuleNotFoundError", "line 1, in <module>"),
            ("def g(): pass\n", "AttributeError", "Function 'f' not found in code"),
            ("raise SystemExit(3)", "SystemExit", "SystemExit: 3"),
            (b"\xff\xfe = 1", "SyntaxError", "SyntaxError"),
            ("", "AttributeError", "not found"),
            ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E()", "E", "E: "),
        ]:
            report, said, log = self.last(candidate, "return {'score': 1}")
            self.assertEqual(report["raised"]["type"], kind, log)
            self.assertIn(text, log)

    def test_who_is_gone_or_hangs_is_named(self):
        report, _, _ = self.last("import os\ndef f(): os._exit(0)\n", "return {'score': candidate.f()}")
        self.assertEqual(report, {"gone": {"process": "candidate", "function": "f"}})
        swallow = "try:\n    candidate.f()\nexcept Exception:\n    pass\nreturn {'score': 1}"
        report, _, _ = self.last("import os\ndef f(): os._exit(0)\n", swallow)
        self.assertIn("gone", report)
        report, _, log = self.last("def f():\n    while True:\n        pass\n", "candidate.f()", seconds=1.0)
        self.assertEqual(report["over_time"]["limit"], 1.0)
        self.assertRegex(log, r"candidate.py\", line \d in f")
        report, _, _ = self.last("def f():\n    while True:\n        pass\n", "candidate.call('f', timeout=0.3)")
        self.assertEqual(report["over_time"]["limit"], 0.3)
        # all calls together have the time, not each
        report, _, _ = self.last("import time\ndef f(): time.sleep(0.2)\n", "for _ in range(50): candidate.f()\nreturn {'score': 1}", seconds=1.5)
        self.assertIn("over_time", report)

    def test_nonsense_on_the_wire_is_the_candidates_failure(self):
        for what in ["b'x' * 100", "b'\\0\\0\\0\\2' + bytes(8) + b'[]'", "__import__('struct').pack('>IQ', 2, 1 << 60) + b'{}'",
                     "__import__('struct').pack('>IQ', 1 << 31, 0)"]:
            candidate = "import os\ndef f():\n    os.write(3, %s)\n    os._exit(0)\n" % what
            report, said, _ = self.last(candidate, "return {'score': candidate.f()}")
            self.assertTrue("garbage" in report or "gone" in report, (what, report, said))
            self.assertEqual(said, "")
        report, _, _ = self.last("def f(): return b'x' * (2 << 20)\n", "return {'score': candidate.f()}")
        self.assertIn("the limit is", report["garbage"]["what"])
        report, _, log = self.last("def f(): return object()\n", "return {'score': candidate.f()}")
        self.assertEqual(report["raised"]["type"], "TypeError")
        self.assertIn("f returned what can't be sent: a value of type object", log)

    def test_only_plain_values_arrive(self):
        candidate = ("class L(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
                     "class S(str):\n    def __len__(self): return 99\n"
                     "def f(): return [L(1), S('x'), {S('k'): L(2)}]\n")
        body = "a = candidate.f()\nassert a == [1, 'x', {'k': 2}] and type(a[0]) is int and type(a[1]) is str and a[0] != 5, a\nreturn {'score': 1}"
        report, said, _ = self.last(candidate, body)
        self.assertIn("metrics", report, said)

    def test_the_report_is_out_of_reach(self):
        candidate = ("import os, sys, json\n"
                     "def f():\n"
                     "    for fd in range(3, 64):\n"
                     "        try: os.write(fd, b'{\"metrics\": [[\"score\", \"9\"]]}\\n')\n"
                     "        except OSError: pass\n"
                     "    print('{\"score\": 9}')\n"
                     "    return 1\n")
        report, _, _ = self.last(candidate, "return {'score': candidate.f()}")
        self.assertIn("garbage", report)

    def test_faults_of_the_evaluator_are_its_own(self):
        for body, text in [("return 1 / 0", "ZeroDivisionError"), ("return 3", "not a dict"), ("return {'score': 'x'}", "a metric is"),
                           ("return {'score': True}", "a metric is"), ("return candidate.g()", "no entry point `g`")]:
            report, said, _ = self.last("def f(): return 1\n", body)
            self.assertIn("error", report)
            self.assertIn(text, report["error"]["message"])
            self.assertIn(text, said)
        report, said, _ = judged("def f(): pass\n", "x = 1\n")
        self.assertIn("no function evaluate", report[-1]["error"]["message"])
        report, said, _ = self.last("def f(): return 1\n", "raise task.Invalid('too short')")
        self.assertEqual(report, {"invalid": "too short"})

    def test_two_processes_share_nothing(self):
        candidate = "kept = {}\ndef e(x):\n    kept['x'] = x\n    return b''\ndef d(data):\n    return kept.get('x', 'lost')\n"
        body = "return {'score': 1.0 if candidate.d(candidate.e('frame')) == 'lost' else 0.0}"
        report, said, _ = self.last(candidate, body, processes=("e", "d"), functions={"e": "e", "d": "d"})
        self.assertEqual(report["metrics"], [["score", "1.0"]], said)


class Wire(unittest.TestCase):
    def test_no_bytes_whatever_raise_anything_but_our_own(self):
        rng = random.Random(1)
        good = {"m": {"reply": 1, "ok": {"t": "array", "i": 0, "d": "<f8", "s": [1]}}, "b": [8]}
        for _ in range(3000):
            header = bytearray(json.dumps(good).encode())
            for _ in range(rng.randrange(6)):
                header[rng.randrange(len(header))] = rng.randrange(256)
            data = struct.pack(">IQ", len(header), 8) + bytes(header) + bytes(8)
            a, b = socket.socketpair()
            with a, b:
                a.sendall(data)
                a.shutdown(socket.SHUT_WR)
                try:
                    wire["read_message"](b, 1 << 20)
                except (wire["Garbage"], wire["Closed"]):
                    pass

    def test_arrays_pass_where_numpy_is(self):
        try:
            import numpy
        except ImportError:
            print("skipped: arrays: numpy is not installed", file=sys.stderr)
            return
        a, b = socket.socketpair()
        with a, b:
            for array in [numpy.arange(6, dtype="<u1").reshape(2, 3), numpy.zeros((0, 3)), numpy.float32(1.5), numpy.array(2.5)]:
                wire["write_message"](a, {"v": array})
                back = wire["read_message"](b, 1 << 20)["v"]
                self.assertTrue(numpy.array_equal(array, back), (array, back))


if __name__ == "__main__":
    unittest.main()
