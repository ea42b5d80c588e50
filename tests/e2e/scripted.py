"""Model servers that the mock cannot be: a script for each connection, with or
without TLS, down to how the connection ends."""

import contextlib
import socket
import ssl
import threading

from wire import PATIENCE

LINGER_0 = b"\1\0\0\0\0\0\0\0"


class Scripted:
    """Calls script(connection) in a thread of its own for each connection, and
    closes it after.  A script that raises fails the test in stop()."""

    def __init__(self, script, tls=None):
        """`tls` is (cert file, key file): the handshake comes first."""
        self.script = script
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*tls)
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.failures = []
        self.threads = []
        self.open = set()
        self.is_stopping = False
        self.accepter = threading.Thread(target=self.accept, daemon=True)
        self.accepter.start()

    @property
    def url(self):
        return f"http{'s' if self.context else ''}://127.0.0.1:{self.port}/v1"

    @property
    def tls_url(self):
        """As if it spoke TLS."""
        return f"https://127.0.0.1:{self.port}/v1"

    @property
    def named_url(self):
        """By the name that a certificate() has."""
        return self.url.replace("127.0.0.1", "localhost")

    def accept(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return  # stop()
            thread = threading.Thread(target=self.serve, args=(conn,),
                                      daemon=True)
            self.threads.append(thread)
            thread.start()

    def serve(self, conn):
        self.open.add(conn)
        conn.settimeout(PATIENCE)
        try:
            if self.context:
                conn = self.context.wrap_socket(conn, server_side=True,
                                                suppress_ragged_eofs=True)
                self.open.add(conn)
            self.script(conn)
        except (ssl.SSLError, ConnectionError):
            pass  # the gateway would not have us, or left
        except OSError as error:
            if not self.is_stopping:
                self.failures.append(error)
        except Exception as error:
            self.failures.append(error)
        finally:
            conn.close()

    def stop(self):
        self.is_stopping = True
        for sock in (self.sock, *self.open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for thread in self.threads:
            thread.join(PATIENCE)
        assert not self.failures, self.failures


def read_request(conn):
    """A whole request: its head and its body, as bytes."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = conn.recv(65536)
        if not piece:
            raise ConnectionError("no request")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n")
                  if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += conn.recv(65536)
    return head, body


def wait_for_end(conn):
    """Until the gateway has left."""
    with contextlib.suppress(OSError):
        while conn.recv(65536):
            pass


def reset(conn):
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    conn.close()


@contextlib.contextmanager
def deaf_port():
    """A port of the loopback where no connection is ever established: its
    queue is full, and nobody accepts."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


@contextlib.contextmanager
def closed_port():
    """A port of the loopback that refuses connections, and stays free."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
