# How the evaluator and the candidate talk: a message is two lengths, a JSON header, and the bytes of what the header
# only points to. Never pickle: whoever reads must not run what somebody else wrote. Python 3.8 and newer.
import json as _json
import struct as _struct
import time as _time

_HEAD = _struct.Struct(">IQ")
_LONGEST_HEADER = 16 << 20
_DEEPEST = 64


class Garbage(Exception):
    """What came over the wire is no message of ours."""


class TooSlow(Exception):
    """The other side did not answer in time."""


class Closed(Exception):
    """The other side is gone."""


def _plain(value, buffers, depth=0):
    """The value as JSON can hold it; what is large goes to `buffers`."""
    if depth > _DEEPEST:
        raise TypeError("a value nested deeper than %d can't be sent" % _DEEPEST)
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    if kind in (int, float, str):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        buffers.append(bytes(value))
        return {"t": "bytes", "i": len(buffers) - 1}
    if isinstance(value, (list, tuple)):
        inner = [_plain(item, buffers, depth + 1) for item in value]
        return inner if isinstance(value, list) else {"t": "tuple", "v": inner}
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError("a dict can only be sent with keys of type str, not %s" % type(key).__name__)
        return {"t": "dict", "k": [str(key) for key in value], "v": [_plain(v, buffers, depth + 1) for v in value.values()]}
    if hasattr(value, "__array_interface__") and hasattr(value, "tobytes") and hasattr(value, "dtype"):
        dtype = value.dtype
        if dtype.kind not in "biufc" or dtype.names:
            raise TypeError("an array of dtype %s can't be sent: only numbers and booleans" % dtype)
        if getattr(value, "shape", None) == () and not hasattr(value, "setflags"):
            return _plain(value.item(), buffers, depth + 1)
        buffers.append(value.tobytes())
        return {"t": "array", "i": len(buffers) - 1, "d": dtype.str, "s": [int(n) for n in value.shape]}
    if hasattr(value, "item") and hasattr(value, "dtype"):
        return _plain(value.item(), buffers, depth + 1)
    for plain in (bool, int, float, str):
        # an IntEnum, a numpy float that is a float too: what it is worth, not what it can do
        if isinstance(value, plain):
            return plain(value)
    raise TypeError("a value of type %s can't be sent: only None, bool, int, float, str, bytes, list, tuple, dict "
                    "with keys of type str, and numpy arrays of numbers" % kind.__name__)


def _rich(value, buffers, depth=0):
    """The value again. It consists of exactly our own types, whatever was sent."""
    if depth > _DEEPEST:
        raise Garbage("a value nested deeper than %d" % _DEEPEST)
    if isinstance(value, list):
        return [_rich(item, buffers, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    tag = value.get("t")
    if tag == "bytes":
        return bytes(_buffer(value, buffers))
    if tag == "tuple":
        return tuple(_rich(item, buffers, depth + 1) for item in _items(value, "v"))
    if tag == "dict":
        keys, values = _items(value, "k"), _items(value, "v")
        if len(keys) != len(values) or not all(isinstance(key, str) for key in keys):
            raise Garbage("a dict whose keys and values don't match")
        return {key: _rich(item, buffers, depth + 1) for key, item in zip(keys, values)}
    if tag == "array":
        return _array(value, _buffer(value, buffers))
    raise Garbage("a value of an unknown kind")


def _items(value, name):
    items = value.get(name)
    if not isinstance(items, list):
        raise Garbage("a value without its items")
    return items


def _buffer(value, buffers):
    index = value.get("i")
    if type(index) is not int or not 0 <= index < len(buffers):
        raise Garbage("a value whose bytes were not sent")
    return buffers[index]


def _array(value, data):
    dtype, shape = value.get("d"), value.get("s")
    letters = isinstance(dtype, str) and 3 <= len(dtype) <= 4 and dtype[0] in "<>|=" and dtype[1] in "biufc" and dtype[2:].isdigit()
    if not letters or not isinstance(shape, list) or len(shape) > 32:
        raise Garbage("an array without dtype or shape")
    size = int(dtype[2:])
    for n in shape:
        if type(n) is not int or n < 0:
            raise Garbage("an array with an impossible shape")
        size *= n
    if size != len(data):
        raise Garbage("an array whose bytes don't fit its shape")
    try:
        import numpy
    except ImportError:
        raise Garbage("an array, and numpy is not among the packages of the task") from None
    try:
        # a copy of its own, so that it can be written to
        return numpy.frombuffer(data, dtype=numpy.dtype(dtype)).reshape(shape).copy()
    except (TypeError, ValueError) as error:
        raise Garbage("an array that numpy refuses: %s" % error) from None


def _deadline_left(deadline):
    if deadline is None:
        return None
    left = deadline - _time.monotonic()
    if left <= 0:
        raise TooSlow()
    return left


def write_message(channel, message, deadline=None):
    """Sends a dict. A value that can't be sent is a TypeError, and nothing was sent then."""
    buffers = []
    plain = {key: _plain(value, buffers) for key, value in message.items()}
    header = _json.dumps({"m": plain, "b": [len(b) for b in buffers]}).encode()
    if len(header) > _LONGEST_HEADER:
        raise TypeError("a value with %d MiB of small parts can't be sent: use bytes or an array" % (len(header) >> 20))
    data = b"".join([_HEAD.pack(len(header), sum(map(len, buffers))), header] + buffers)
    view, sent = memoryview(data), 0
    try:
        while sent < len(view):
            channel.settimeout(_deadline_left(deadline))
            sent += channel.send(view[sent:sent + (1 << 20)])
    except TimeoutError:
        raise TooSlow() from None
    except OSError as error:
        # before Python 3.10 a time-out is a class of its own
        if isinstance(error, _timeouts()):
            raise TooSlow() from None
        raise Closed() from None


def _timeouts():
    import socket
    return socket.timeout


def _exactly(channel, count, deadline):
    data = bytearray(count)
    view, got = memoryview(data), 0
    while got < count:
        try:
            channel.settimeout(_deadline_left(deadline))
            n = channel.recv_into(view[got:], min(count - got, 1 << 20))
        except TooSlow:
            raise
        except OSError as error:
            if isinstance(error, _timeouts()):
                raise TooSlow() from None
            raise Closed() from None
        if n == 0:
            raise Closed()
        got += n
    return data


def read_message(channel, most, deadline=None):
    """Receives a dict whose parts take at most `most` bytes."""
    length, total = _HEAD.unpack(bytes(_exactly(channel, _HEAD.size, deadline)))
    if length > _LONGEST_HEADER:
        raise Garbage("a header of %d bytes" % length)
    if total > most:
        raise Garbage("%d bytes; the limit is %d" % (total, most))
    header = _exactly(channel, length, deadline)
    body = memoryview(_exactly(channel, total, deadline))
    try:
        header = _json.loads(bytes(header).decode())
        plain, lengths = header["m"], header["b"]
        if not isinstance(plain, dict) or not isinstance(lengths, list):
            raise Garbage("a header without its parts")
        buffers, at = [], 0
        for n in lengths:
            if type(n) is not int or n < 0 or at + n > total:
                raise Garbage("parts that don't fit")
            buffers.append(body[at:at + n])
            at += n
        if at != total:
            raise Garbage("parts that don't fit")
        return {key: _rich(value, buffers) for key, value in plain.items()}
    except Garbage:
        raise
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError, MemoryError) as error:
        raise Garbage("a header that can't be read (%s)" % type(error).__name__) from None
