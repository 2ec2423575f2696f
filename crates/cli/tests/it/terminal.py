"""Plays a terminal and its shell: starts a command in a session with a pseudo-terminal and does what a script of
steps says. Prints a JSON object: what the terminal showed, how the command ended, what was seen on the way.

usage: terminal.py STEPS COMMAND...      STEPS is a JSON list of [step, argument]
"""
import fcntl, json, os, pty, select, signal, struct, sys, termios, time

steps, command = json.loads(sys.argv[1]), sys.argv[2:]
pid, master = pty.fork()
if pid == 0:
    os.execvp(command[0], command)

shown, seen, status = b"", [], None


def size(rows, columns):
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def read(timeout):
    global shown
    if select.select([master], [], [], timeout)[0]:
        try:
            data = os.read(master, 65536)
        except OSError:
            data = b""
        shown += data
        return bool(data)
    return None


def reap(options):
    global status
    done, got = os.waitpid(pid, options)
    if done:
        status = got


def wait_until(what, done):
    end = time.time() + 60
    while not done():
        if time.time() > end:
            print(json.dumps({"stuck": what, "shown": shown.decode("utf-8", "replace"), "seen": seen}))
            os.kill(pid, signal.SIGKILL)
            sys.exit(1)
        read(0.01)


for step, argument in steps:
    if step == "size":
        size(*argument)
    elif step == "expect":
        wait_until(argument, lambda: argument.encode() in shown)
    elif step == "type":
        os.write(master, argument.encode())
    elif step == "signal":
        os.kill(pid, getattr(signal, argument))
    elif step == "modes":
        raw = lambda: not termios.tcgetattr(master)[3] & termios.ICANON
        wait_until(argument, lambda: raw() == (argument == "raw"))
        seen.append(argument)

while status is None:
    if read(0.05) is False or status is None:
        reap(os.WNOHANG)
while read(0.05):
    pass
raw = not termios.tcgetattr(master)[3] & termios.ICANON
print(json.dumps({
    "shown": shown.decode("utf-8", "replace"),
    "seen": seen,
    "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
    "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
    "raw": raw,
}))
