"""Many clients at once, each with one request after another, in one thread
that can be left at any moment."""

import contextlib
import selectors
import socket
import threading

from harness import chat_body, post


class Load:
    """`count` connections, whose requests are made by make(number): directives
    and members.  Every request has a tag of its own, as its X-Request-Id and as
    its message, so that its line and what the model server saw of it can be
    found."""

    def __init__(self, port, key, prefix, count, make):
        self.port = port
        self.key = key
        self.prefix = prefix
        self.make = make
        self.asked = {}       # tag -> the request's members
        self.answered = set()  # tags whose answer came whole
        self.selector = selectors.DefaultSelector()
        self.is_over = False
        self.problem = None
        self.conns = []
        with contextlib.suppress(ConnectionError):  # the gateway is gone
            for _ in range(count):
                self.connect()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def connect(self):
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setblocking(False)
        conn = {"sock": sock, "tail": b"", "tag": None}
        self.selector.register(sock, selectors.EVENT_READ, conn)
        self.conns.append(conn)
        self.ask(conn)

    def ask(self, conn):
        number = len(self.asked)
        tag = f"{self.prefix}-{number}"
        directives, members = self.make(number)
        body = chat_body(directives, **members, messages=[
            {"role": "user", "content": tag}])
        conn["tag"] = tag
        conn["tail"] = b""
        conn["is_stream"] = members.get("stream", False)
        self.asked[tag] = members
        conn["sock"].sendall(post(body, self.key,
                                  fields=[f"X-Request-Id: {tag}"]))

    def run(self):
        try:
            while not self.is_over and self.selector.get_map():
                for key, _ in self.selector.select(0.02):
                    self.take(key.data)
        except ConnectionError:
            pass  # the gateway is gone
        except Exception as problem:  # pylint: disable=broad-except
            self.problem = problem

    def take(self, conn):
        try:
            data = conn["sock"].recv(1 << 16)
        except BlockingIOError:
            return
        if not data:
            self.selector.unregister(conn["sock"])
            return
        conn["tail"] = (conn["tail"] + data)[-65536:]
        if self.is_whole(conn):
            self.answered.add(conn["tag"])
            self.ask(conn)

    @staticmethod
    def is_whole(conn):
        if conn["is_stream"]:
            return conn["tail"].endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        head, found, body = conn["tail"].partition(b"\r\n\r\n")
        at = head.find(b"Content-Length: ")
        return found and at >= 0 and \
            len(body) == int(head[at + 16:].split(b"\r")[0])

    def stop(self):
        """Leaves everything as it is."""
        self.is_over = True
        self.thread.join()
        for conn in self.conns:
            conn["sock"].close()
        self.selector.close()
        if self.problem:
            raise self.problem
