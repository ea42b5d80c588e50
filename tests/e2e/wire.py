"""A client that sends exactly the bytes it was told to, and reads answers as
strictly as it can: whatever is not one well-formed answer after another is an
error, so that a test need not look for it."""

import json
import re
import select
import socket
import time

PATIENCE = 20.0

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([ -~]*)")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\t -~\x80-\xff]*)")


class Malformed(AssertionError):
    """What came is not HTTP/1.1 as we may speak it."""


class Reply:
    """One answer: status, headers, body."""

    def __init__(self, status, reason, headers):
        self.status = status
        self.reason = reason
        self.headers = headers  # a list of pairs, as they came
        self.body = bytearray()  # bytes when it is complete
        self.is_whole = False   # its framing came to an end
        self.chunks = []        # the pieces of a chunked body

    def header(self, name):
        """The value of the only field of that name; None if there is none."""
        found = [v for k, v in self.headers if k.lower() == name.lower()]
        if len(found) > 1:
            raise Malformed(f"{name} came {len(found)} times")
        return found[0] if found else None

    @property
    def closes(self):
        return (self.header("Connection") or "").lower() == "close"

    def json(self):
        return json.loads(self.body)

    def events(self):
        """The JSON documents of an event stream."""
        return [json.loads(line[6:]) for line in self.body.decode().split("\n")
                if line.startswith("data: {")]

    def text(self):
        """The words of a chat answer, streamed or not."""
        if (self.header("Content-Type") or "").startswith("application/json"):
            return self.json()["choices"][0]["message"]["content"]
        return "".join(c["delta"].get("content") or ""
                       for e in self.events() for c in e.get("choices", ()))

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:300]!r}>"


class Reader:
    """Takes answers out of bytes as they come."""

    def __init__(self, methods=()):
        self.raw = b""
        self.replies = []
        self.now = None             # the answer that is under way
        self.methods = list(methods)  # of the requests; GET if not named

    def feed(self, data):
        self.raw += data
        while self.step():
            pass

    def step(self):
        if self.now is None:
            return self.read_head()
        return self.read_body(self.now)

    def read_head(self):
        end = self.raw.find(b"\r\n\r\n")
        if end < 0:
            if len(self.raw) > 65536 or not b"HTTP/1.1 ".startswith(
                    self.raw[:9]):
                raise Malformed(f"no head: {self.raw[:200]!r}")
            return False
        lines = self.raw[:end].split(b"\r\n")
        self.raw = self.raw[end + 4:]
        match = STATUS_LINE.fullmatch(lines[0])
        if not match:
            raise Malformed(f"no status line: {lines[0]!r}")
        headers = []
        for line in lines[1:]:
            field = FIELD.fullmatch(line)
            if not field:
                raise Malformed(f"no header field: {line!r}")
            headers.append((field[1].decode(), field[2].decode("latin1")))
        self.begin(Reply(int(match[1]), match[2].decode(), headers))
        return True

    def begin(self, reply):
        length = reply.header("Content-Length")
        coding = reply.header("Transfer-Encoding")
        if length is not None and not re.fullmatch("[0-9]{1,18}", length):
            raise Malformed(f"Content-Length: {length!r}")
        if coding is not None and (coding != "chunked" or length is not None):
            raise Malformed(f"framing: {reply.headers}")
        is_interim = reply.status < 200
        method = "GET"
        if self.methods and not is_interim:
            method = self.methods.pop(0)
        if is_interim or reply.status in (204, 304) or method == "HEAD":
            self.is_done(reply)
            return
        reply.left = None if length is None else int(length)
        reply.is_chunked = coding is not None
        self.now = reply

    def read_body(self, reply):
        if reply.is_chunked:
            return self.read_chunk(reply)
        if reply.left is None:  # to the end of the connection
            reply.body += self.raw
            self.raw = b""
            return False
        taken = self.raw[:reply.left]
        self.raw = self.raw[len(taken):]
        reply.body += taken
        reply.left -= len(taken)
        if reply.left > 0:
            return False
        return self.is_done(reply)

    def read_chunk(self, reply):
        end = self.raw.find(b"\r\n")
        if end < 0:
            return False
        if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", self.raw[:end]):
            raise Malformed(f"chunk size {self.raw[:end][:80]!r}")
        size = int(self.raw[:end], 16)
        if len(self.raw) < end + 4 + size:
            return False
        piece = self.raw[end + 2:end + 2 + size]
        if self.raw[end + 2 + size:end + 4 + size] != b"\r\n":
            raise Malformed("no line end behind a chunk")
        self.raw = self.raw[end + 4 + size:]
        if size == 0:
            return self.is_done(reply)
        reply.body += piece
        reply.chunks.append(piece)
        return True

    def is_done(self, reply):
        reply.is_whole = True
        reply.body = bytes(reply.body)
        self.replies.append(reply)
        self.now = None
        return True

    def at_end(self):
        """The connection has ended: an answer without a length is whole."""
        if self.now is not None:
            is_whole = not self.now.is_chunked and self.now.left is None
            reply = self.now
            self.is_done(reply)
            reply.is_whole = is_whole
        elif self.raw:
            raise Malformed(f"left over: {self.raw[:200]!r}")


class Conn:
    """One connection.  Sends and receives at the same time, so that neither
    side can wait for the other.  end: None, "eof" or "reset"."""

    def __init__(self, port, methods=(), receive_buffer=None):
        self.sock = socket.socket()
        if receive_buffer is not None:
            self.sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.reader = Reader(methods)
        self.taken = 0  # replies that were handed out
        self.unsent = b""
        self.end = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Ends the connection with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def push(self):
        try:
            self.unsent = self.unsent[self.sock.send(self.unsent[:1 << 20]):]
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self.unsent = b""  # what came before can still be read

    def pull(self):
        try:
            data = self.sock.recv(1 << 20)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data, self.end = b"", "reset"
        if data:
            self.reader.feed(data)
            return
        self.end = self.end or "eof"
        self.reader.at_end()

    def turn(self, deadline):
        """Waits until something can be sent or received, and does it.  False
        if the time is up."""
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        readable, writable, _ = select.select(
            [self.sock], [self.sock] if self.unsent else [], [], left)
        if writable:
            self.push()
        if readable:
            self.pull()
        return True

    def send(self, data, timeout=PATIENCE):
        """Sends all of it, unless the other side has ended."""
        self.unsent += data
        deadline = time.monotonic() + timeout
        while self.unsent and self.end is None:
            assert self.turn(deadline), "the bytes are not taken"

    def is_taken(self):
        """The other side has received every byte that was sent."""
        ours = "%04X" % self.sock.getsockname()[1]
        theirs = "%04X" % self.sock.getpeername()[1]
        with open("/proc/net/tcp") as table:
            for line in table:
                fields = line.split()
                if fields[1][-4:] == theirs and fields[2][-4:] == ours:
                    return fields[4].endswith(":00000000")
        return False  # it has not arrived there yet

    def send_in_steps(self, data, cuts):
        """Sends the bytes cut at these offsets, each piece when the one
        before it has been received."""
        begin = 0
        for cut in [*cuts, len(data)]:
            self.send(data[begin:cut])
            deadline = time.monotonic() + PATIENCE
            while cut < len(data) and not self.is_taken():
                assert time.monotonic() < deadline, "the bytes are not read"
            begin = cut

    def reply(self, timeout=PATIENCE):
        """The next whole answer, interim ones too."""
        deadline = time.monotonic() + timeout
        while len(self.reader.replies) <= self.taken and self.end is None:
            assert self.turn(deadline), \
                f"no answer, only {self.reader.now} {self.reader.raw[:200]!r}"
        assert len(self.reader.replies) > self.taken, \
            f"no answer: {self.end}"
        self.taken += 1
        return self.reader.replies[self.taken - 1]

    def until(self, condition, timeout=PATIENCE):
        """Reads until condition(this connection) holds."""
        deadline = time.monotonic() + timeout
        while not condition(self):
            assert self.end is None, f"{self.end} before it was so"
            assert self.turn(deadline), "it never was so"

    def body_so_far(self):
        """Of the answer that is under way, or of the last one."""
        now = self.reader.now
        if now is None and self.reader.replies:
            now = self.reader.replies[-1]
        return b"" if now is None else bytes(now.body)

    def read_to_end(self, timeout=PATIENCE):
        """All answers until the other side ends the connection."""
        deadline = time.monotonic() + timeout
        while self.end is None:
            assert self.turn(deadline), \
                f"still open after {self.reader.replies}"
        return self.reader.replies


def head(method="GET", path="/v1/models", key=None, fields=(), version=b"1.1",
         host="gateway"):
    """A request's head as bytes; fields are text or bytes, without CRLF."""
    lines = [f"{method} {path} HTTP/".encode("latin1") + version]
    if host is not None:
        lines.append(f"Host: {host}".encode())
    if key is not None:
        lines.append(f"Authorization: Bearer {key}".encode())
    for field in fields:
        lines.append(field if isinstance(field, bytes) else
                     field.encode("latin1"))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def post(body, key=None, path="/v1/chat/completions", fields=()):
    """A whole, well-formed POST."""
    if not isinstance(body, (bytes, bytearray)):
        body = json.dumps(body).encode()
    return head("POST", path, key, [
        *fields, "Content-Type: application/json",
        f"Content-Length: {len(body)}"]) + body


def chunked(*pieces):
    """A chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + \
        b"0\r\n\r\n"


def raw(port, data, methods=(), timeout=PATIENCE):
    """Sends the bytes, reads to the end of the connection, which the other
    side must bring about.  Returns the answers; .end says how it ended."""
    with Conn(port, methods) as c:
        c.unsent = data
        c.read_to_end(timeout)
        replies = Replies(c.reader.replies)
        replies.end = c.end
        return replies


class Replies(list):
    """The answers on one connection, and how it ended."""

    end = None

    @property
    def statuses(self):
        return [r.status for r in self]
