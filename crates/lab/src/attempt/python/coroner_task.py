# The evaluator's side: what evaluate.py imports, and what runs it. The candidate is in another process and another
# sandbox; only values come back from there. What is found is told to Coroner over descriptor 3, never over standard
# output. `wire.py` stands above.
import importlib.util
import json
import math
import os
import pathlib
import socket
import sys
import time
import traceback

__all__ = ["task", "Candidate", "CandidateError", "Invalid"]


class Invalid(Exception):
    """The result is wrong, and that is the candidate's fault: `raise Invalid("frame 3 has the wrong shape")`."""


class CandidateError(Exception):
    """The candidate raised an exception. Uncaught, it is the candidate's failure."""

    def __init__(self, function, kind, message, line):
        super().__init__("%s raised %s" % (function, message))
        self.function, self.type, self.message, self.line = function, kind, message, line


class _Ended(BaseException):
    """The candidate is gone, hangs or talks nonsense. No `except Exception` stops it, for there is nothing to go on with."""

    def __init__(self, report):
        super().__init__(report)
        self.report = report


class Task:
    """What evaluate.py knows and can do besides the candidate and the inputs."""

    Invalid = Invalid
    CandidateError = CandidateError

    def __init__(self):
        self.name = ""
        self.seed = 0
        self.config = {}
        self.held_out = False
        self._report = None

    def progress(self, done, total):
        """Says how far it is; shown to whoever waits."""
        self._tell({"progress": [float(done), float(total)]})

    def note(self, text):
        """Says something that is kept beside the metrics."""
        self._tell({"note": str(text)[:2000]})

    def _tell(self, message):
        if self._report is None:
            return
        data = (json.dumps(message) + "\n").encode()
        while data:
            data = data[os.write(self._report, data):]


task = Task()


class _Process:
    """One process of the candidate: a socket, a number of seconds, and whether anything can still be expected of it."""

    def __init__(self, name, descriptor, seconds, most):
        self.name, self.seconds, self.left, self.most = name, seconds, seconds, most
        self.channel = socket.socket(fileno=descriptor)
        # how it ended, as it is told; nothing that comes later changes it
        self.ready, self.calls, self.ended = False, 0, None

    def end(self, kind, function, **more):
        self.ended = {kind: dict({"process": self.name, "function": function}, **more)}
        raise _Ended(self.ended)

    def exchange(self, message, function, timeout=None):
        """Sends, if there is something to send, and receives, within the time that the process has left."""
        if self.ended is not None:
            raise _Ended(self.ended)
        allowed = self.left if timeout is None else min(self.left, timeout)
        since = time.monotonic()
        try:
            if message is not None:
                message["limit"] = allowed
                write_message(self.channel, message, since + allowed)
            return read_message(self.channel, self.most, since + allowed)
        except TooSlow:
            limit = self.seconds if timeout is None or timeout >= self.left else timeout
            self.end("over_time", function, limit=limit)
        except Closed:
            self.end("gone", function)
        except Garbage as error:
            self.end("garbage", function, what=str(error)[:500])
        finally:
            self.left -= time.monotonic() - since

    def wait_until_ready(self):
        if self.ready:
            return
        answer = self.exchange(None, None)
        if answer.get("ready") is True:
            self.ready = True
            return
        self.end("raised", None, **self.error(answer, None))

    def error(self, answer, function):
        error = answer.get("error")
        if not isinstance(error, dict) or not all(isinstance(error.get(key), str) for key in ("type", "message")):
            self.end("garbage", function, what="an answer without a value and without an error")
        line = error.get("line")
        return {"type": error["type"][:200], "message": error["message"][:4000], "line": line if type(line) is int else None}


class Candidate:
    """The functions of the candidate, called across."""

    def __init__(self, processes, functions):
        self._processes, self._functions = processes, functions

    def __getattr__(self, name):
        if name.startswith("_") or name not in self._functions:
            raise AttributeError("the task has no entry point `%s`; it has %s" % (name, ", ".join(sorted(self._functions))))
        return lambda *args, **kwargs: self._call(name, args, kwargs, None)

    def call(self, name, *args, timeout=None, **kwargs):
        """The long form, with a time limit of its own."""
        if name not in self._functions:
            raise AttributeError("the task has no entry point `%s`; it has %s" % (name, ", ".join(sorted(self._functions))))
        return self._call(name, args, kwargs, timeout)

    def seconds(self, process=None):
        """Seconds that the candidate has spent answering so far."""
        chosen = [p for p in self._processes.values() if process in (None, p.name)]
        return sum(p.seconds - p.left for p in chosen)

    def _call(self, name, args, kwargs, timeout):
        process = self._functions[name]
        process.wait_until_ready()
        process.calls += 1
        message = {"call": process.calls, "name": name, "args": list(args), "kwargs": kwargs}
        answer = process.exchange(message, name, timeout)
        if type(answer.get("reply")) is not int or answer["reply"] != process.calls:
            process.end("garbage", name, what="an answer to another call")
        if "ok" in answer:
            return answer["ok"]
        error = process.error(answer, name)
        raised = CandidateError(name, error["type"], error["message"], error["line"])
        raised.process = process.name
        raise raised


def _metrics(result):
    """The metrics as they are told: pairs of name and number, the number as text, for JSON has no NaN."""
    if not isinstance(result, dict):
        raise TypeError("evaluate() returned %s, not a dict of metrics" % type(result).__name__)
    told = []
    for name, value in result.items():
        if hasattr(value, "item") and hasattr(value, "dtype"):
            value = value.item()
        if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError("evaluate() returned %r: %s, and a metric is a name and a number" % (name, type(value).__name__))
        try:
            told.append([name, repr(float(value))])
        except OverflowError:
            told.append([name, "inf" if value > 0 else "-inf"])
    return told


def _load(path):
    folder = os.path.dirname(path)
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("evaluate", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["evaluate"] = module
    spec.loader.exec_module(module)
    if not callable(getattr(module, "evaluate", None)):
        raise AttributeError("%s has no function evaluate(candidate, inputs)" % os.path.basename(path))
    return module.evaluate


def _main():
    orders = json.loads(sys.argv[1])
    del sys.argv[1:]
    # one module, under whatever name it is imported
    sys.modules["coroner_task"] = sys.modules["__main__"]
    task._report = 3
    task.name, task.seed, task.config, task.held_out = (orders[key] for key in ("name", "seed", "config", "held_out"))
    processes = {p["name"]: _Process(p["name"], p["descriptor"], p["seconds"], orders["most"]) for p in orders["processes"]}
    functions = {f["name"]: processes[f["process"]] for f in orders["functions"]}
    inputs = pathlib.Path(orders["inputs"]) if orders["inputs"] else None
    try:
        evaluate = _load(orders["evaluator"])
        for process in processes.values():
            process.wait_until_ready()
        result = evaluate(Candidate(processes, functions), inputs)
        # whoever swallowed the end of the candidate has measured something else
        ended = [p.ended for p in processes.values() if p.ended is not None]
        if ended:
            raise _Ended(ended[0])
        message = {"metrics": _metrics(result), "seconds": sum(p.seconds - p.left for p in processes.values()),
                   "calls": sum(p.calls for p in processes.values())}
    except Invalid as error:
        message = {"invalid": str(error)[:4000]}
    except CandidateError as error:
        message = {"raised": {"process": getattr(error, "process", ""), "function": error.function, "type": error.type,
                              "message": error.message, "line": error.line}}
    except _Ended as end:
        message = end.report
    except BaseException as error:
        traceback.print_exc()
        last = "".join(traceback.format_exception_only(type(error), error)).strip()
        message = {"error": {"type": type(error).__name__, "message": last[:4000]}}
    sys.stdout.flush()
    sys.stderr.flush()
    task._tell(message)
    os._exit(0)


if __name__ == "__main__":
    _main()
