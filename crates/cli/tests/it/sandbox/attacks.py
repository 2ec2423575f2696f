"""Tries to get out, or at what it must not have, and prints what worked: a name a line."""

import ctypes
import errno
import glob
import os
import socket
import struct
import sys

outside, port, abstract, here, machine = sys.argv[1:6]
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
x86 = machine == "x86_64"
parent = os.getppid()
worked = []


def attack(name):
    def run(function):
        try:
            done = function()
        except (OSError, ValueError, AttributeError) as error:
            print("#", name, error)
            return
        if done is not False:
            worked.append(name)
    return run


def call(number, *arguments):
    """A system call by number; it worked if it did not fail."""
    converted = [ctypes.c_void_p(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *converted)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return True


def by_number(name, x86_number, arm_number, *arguments):
    number = x86_number if x86 else arm_number
    if number is not None:
        attack(name)(lambda: call(number, *arguments))


# --- files
attack("read outside")(lambda: open(outside + "/secret").read())
attack("read /etc/shadow")(lambda: open("/etc/shadow").read())
attack("list root's home")(lambda: os.listdir("/root/.ssh"))
attack("list outside")(lambda: os.listdir(outside))
attack("write outside")(lambda: open(outside + "/written", "w"))
attack("write here")(lambda: open(here + "/written", "w"))
attack("append here")(lambda: open(here + "/file", "a"))
attack("truncate here")(lambda: os.truncate(here + "/file", 0))
attack("truncate outside")(lambda: os.truncate(outside + "/secret", 0))
attack("chmod here")(lambda: os.chmod(here + "/file", 0o600))
attack("chmod outside")(lambda: os.chmod(outside + "/secret", 0o600))
attack("fchmod here")(lambda: os.fchmod(os.open(here + "/file", os.O_RDONLY), 0o600))
attack("utime here")(lambda: os.utime(here + "/file", (1, 1)))
attack("setxattr here")(lambda: os.setxattr(here + "/file", "user.x", b"y"))
attack("rename here")(lambda: os.rename(here + "/file", here + "/renamed"))
attack("remove here")(lambda: os.remove(here + "/file"))
attack("mkdir here")(lambda: os.mkdir(here + "/folder"))
attack("hard link from outside")(lambda: os.link(outside + "/secret", os.environ["HOME"] + "/link"))


@attack("symbolic link to outside")
def _():
    os.symlink(outside + "/secret", os.environ["HOME"] + "/symbolic")
    open(os.environ["HOME"] + "/symbolic").read()


attack("device")(lambda: os.mknod(os.environ["HOME"] + "/device", 0o20666, os.makedev(1, 3)))
attack("write /usr")(lambda: open("/usr/written", "w"))
attack("write /proc/sys")(lambda: open("/proc/sys/kernel/hostname", "w").write("x"))
attack("oom_score_adj of parent")(lambda: open(f"/proc/{parent}/oom_score_adj", "w").write("-500"))

# --- other processes


@attack("environment of others")
def _():
    found = False
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            found |= b"coroner-attack-secret" in open(path, "rb").read()
        except OSError:
            pass
    return found


attack("memory of parent")(lambda: open(f"/proc/{parent}/mem", "rb"))
attack("open files of parent")(lambda: os.listdir(f"/proc/{parent}/fd"))
by_number("ptrace", 101, 117, 16, parent, 0, 0)
iov = (ctypes.c_char * 64)()
pair = (ctypes.c_ulong * 2)(ctypes.addressof(iov), 8)
by_number("process_vm_readv", 310, 270, parent, ctypes.byref(pair), 1, ctypes.byref(pair), 1, 0)
by_number("pidfd_getfd", 438, 438, 3, 1, 0)
by_number("kcmp", 312, 272, parent, os.getpid(), 0, 1, 1)
by_number("limits of parent", 302, 261, parent, 7, ctypes.byref((ctypes.c_ulong * 2)(16, 16)), 0)
attack("own signals to others")(lambda: __import__("fcntl").fcntl(0, 8, parent))

# --- network
for family, kind, name in [
    (socket.AF_INET, socket.SOCK_STREAM, "TCP socket"),
    (socket.AF_INET, socket.SOCK_DGRAM, "UDP socket"),
    (socket.AF_INET6, socket.SOCK_STREAM, "TCP socket of IPv6"),
    (socket.AF_INET, socket.SOCK_RAW, "raw socket"),
    (17, socket.SOCK_RAW, "packet socket"),
    (16, socket.SOCK_RAW, "netlink socket"),
    (40, socket.SOCK_STREAM, "vsock socket"),
    (38, 5, "AF_ALG socket"),
    (socket.AF_UNIX, socket.SOCK_DGRAM, "unix datagram socket"),
]:
    attack(name)(lambda: socket.socket(family, kind))
attack("TCP")(lambda: socket.create_connection(("127.0.0.1", int(port)), 2))


@attack("abstract unix socket")
def _():
    socket.socket(socket.AF_UNIX).connect("\0" + abstract)


@attack("unix socket here")
def _():
    socket.socket(socket.AF_UNIX).connect("socket")


@attack("message to a unix socket here")
def _():
    one, _two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.sendto(b"x", "socket")


# --- the kernel
NEWUSER, NEWNS = 0x10000000, 0x20000
by_number("unshare user", 272, 97, NEWUSER)
by_number("unshare mount", 272, 97, NEWNS)
by_number("clone with a user namespace", 56, 220, NEWUSER | 17, 0, 0, 0, 0)
by_number("clone3", 435, 435, ctypes.byref((ctypes.c_ulong * 11)(0)), 88)
by_number("setns", 308, 268, 0, 0)
by_number("mount", 165, 40, b"none", b"/work", b"tmpfs", 0, 0)
by_number("fsopen", 430, 430, b"tmpfs", 0)
by_number("open_tree", 428, 428, -100, b"/", 1)
by_number("pivot_root", 155, 41, b"/", b"/")
by_number("chroot", 161, 51, b"/")
by_number("add_key", 248, 217, b"user", b"name", b"text", 4, -3)
by_number("keyctl", 250, 219, 0, -3, 0)
by_number("io_uring_setup", 425, 425, 1, ctypes.byref((ctypes.c_char * 120)()))
by_number("bpf", 321, 280, 0, ctypes.byref((ctypes.c_char * 128)()), 128)
by_number("perf_event_open", 298, 241, ctypes.byref((ctypes.c_char * 128)()), 0, -1, -1, 0)
by_number("userfaultfd", 323, 282, 1)
by_number("memfd_secret", 447, 447, 0)
by_number("memfd_create", 319, 279, b"x", 0)
by_number("modify_ldt", 154, None, 0, ctypes.byref((ctypes.c_char * 16)()), 16)
by_number("personality", 135, 92, 0x0040000)
by_number("a call of the x32 kind", 0x40000000 + 39, None)
by_number("shmget", 29, 194, 0, 4096, 0o1600)
by_number("mq_open", 240, 180, b"queue", 0o102, 0o600, 0)
by_number("setuid", 105, 146, 0)
by_number("init_module", 175, 105, 0, 0, b"")
by_number("reboot", 169, 142, 0xFEE1DEAD, 672274793, 0, 0)
by_number("swapon", 167, 224, b"/x", 0)
by_number("settimeofday", 164, 170, ctypes.byref((ctypes.c_long * 2)(0, 0)), 0)
by_number("syslog", 103, 116, 10, 0, 0)
by_number("open_by_handle_at", 304, 265, -100, ctypes.byref((ctypes.c_char * 64)()), 0)
by_number("fanotify_init", 300, 262, 0, 0)
by_number("a call of the future", 700, 700)
attack("TIOCSTI")(lambda: __import__("fcntl").ioctl(0, 0x5412, b"x"))
attack("root")(lambda: os.getuid() == 0 or os.geteuid() == 0)


@attack("capabilities")
def _():
    status = open("/proc/self/status").read()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff"))
    return int(effective.split()[1], 16) != 0


@attack("a gain of privileges")
def _():
    return "NoNewPrivs:\t1" not in open("/proc/self/status").read()


# --- last, for it is the end if it works: whoever watches us
for target in (parent, 1, -1):
    try:
        os.kill(target, 9 if target != -1 else 0)
    except OSError:
        pass
print("\n".join(worked))
sys.exit(1)
