"""Clients that come from an address of their choice: all of 127.0.0.0/8 is
this machine's."""

import itertools
import socket

from wire import PATIENCE, Conn, Reader

fresh = (f"127.77.{i // 250}.{i % 250 + 1}" for i in itertools.count())


def fresh_source():
    """An address that nobody has come from yet."""
    return next(fresh)


class ConnFrom(Conn):
    """A connection from `source` to `to`."""

    def __init__(self, port, source, to="127.0.0.1", methods=()):
        self.sock = socket.create_connection(
            (to, port), PATIENCE, source_address=(source, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.reader = Reader(methods)
        self.taken = 0
        self.unsent = b""
        self.end = None


def send_from(port, source, data, to="127.0.0.1"):
    """Sends one request from there and returns its answer."""
    method = data.split(b" ", 1)[0].decode("latin1")
    with ConnFrom(port, source, to, [method]) as c:
        c.send(data)
        return c.reply()
