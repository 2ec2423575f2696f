# The candidate's side: loads candidate.py, serves calls that come over descriptor 3, and lets what goes wrong be seen in
# the log. Nothing here is trusted by anybody: it shares a process with the candidate. `wire.py` stands above.
import faulthandler
import json
import linecache
import os
import signal
import socket
import sys
import traceback
import types

NAME = "candidate.py"


def of_candidate(trace):
    """The traceback from the candidate's first frame on."""
    while trace is not None and trace.tb_frame.f_code.co_filename != NAME:
        trace = trace.tb_next
    return trace


def told(error):
    """Prints an exception as Python would, and gives it as it is sent."""
    trace = of_candidate(error.__traceback__)
    try:
        lines = traceback.format_exception(type(error), error.with_traceback(trace), trace)
    except BaseException as worse:  # an exception whose __str__ raises
        lines = ["Traceback (most recent call last):\n", "%s: (its text can't be had: %s)\n" % (type(error).__name__, type(worse).__name__)]
    text = "".join(lines)
    try:
        sys.stdout.flush()
    except BaseException:
        pass
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except BaseException:
        # the candidate may have closed or replaced it
        try:
            os.write(2, text.encode("utf-8", "replace"))
        except OSError:
            pass
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == NAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    last = lines[-1].strip() if lines else type(error).__name__
    return {"type": type(error).__name__, "message": last[:4000], "line": line}


def watch(seconds):
    """Lets the place be printed where it hangs, half a second before its time is up."""
    if seconds is None:
        return
    try:
        faulthandler.dump_traceback_later(max(seconds - 0.5, seconds / 2), exit=False, file=2)
    except (ValueError, OSError, RuntimeError):
        pass


def unwatch():
    faulthandler.cancel_dump_traceback_later()


def load(path, names):
    with open(path, "rb") as file:
        source = file.read()
    module = types.ModuleType("candidate")
    module.__file__ = NAME
    sys.modules["candidate"] = module
    text = source.decode("utf-8", "replace")
    # no time: such an entry is never checked against a file
    linecache.cache[NAME] = (len(text), None, text.splitlines(True), NAME)
    exec(compile(source, NAME, "exec", dont_inherit=True), module.__dict__)
    for name in names:
        if not callable(module.__dict__.get(name)):
            raise AttributeError("Function '%s' not found in code" % name)
    return module.__dict__


def main():
    orders = json.loads(sys.argv[1])
    channel = socket.socket(fileno=3)
    del sys.argv[1:]
    # where it was when its processor time was up
    faulthandler.register(signal.SIGXCPU, file=2, chain=True)
    watch(orders["limit"])
    try:
        functions = load(orders["candidate"], orders["names"])
        answer = {"ready": True}
    except BaseException as error:
        if isinstance(error, SyntaxError):
            error.__traceback__ = None
        functions, answer = {}, {"ready": False, "error": told(error)}
    unwatch()
    write_message(channel, answer)
    while functions:
        try:
            call = read_message(channel, 1 << 40)
        except Closed:
            break
        watch(call["limit"])
        try:
            answer = {"reply": call["call"], "ok": functions[call["name"]](*call["args"], **call["kwargs"])}
        except BaseException as error:
            answer = {"reply": call["call"], "error": told(error)}
        unwatch()
        try:
            write_message(channel, answer)
        except TypeError as error:
            wrong = TypeError("%s returned what can't be sent: %s" % (call["name"], error))
            write_message(channel, {"reply": call["call"], "error": told(wrong)})
    try:
        sys.stdout.flush()
    except BaseException:
        pass
    # threads that the candidate left behind keep nobody waiting
    os._exit(0)


if __name__ == "__main__":
    try:
        main()
    except (Closed, KeyboardInterrupt):
        os._exit(0)
