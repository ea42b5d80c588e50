"""What the tests of queues, budgets and prompts share: many requests under way
at once, and the order in which the model server saw them."""

import re
import resource
import selectors
import time

from harness import chat_body, wait_until
from wire import PATIENCE, Conn, post

CHAT_PATH = "/v1/chat/completions"


def raise_file_limit():
    """For a thousand connections; what is started after it has it too."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Crowd:
    """Requests under way, each on a connection of its own."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.conns = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for conn in self.conns:
            conn.close()

    def send(self, user, tag="", directives="tokens=1", fields=(),
             path=CHAT_PATH, text="hi", **members):
        """One more of this user's, which has been read by the gateway when
        this returns.  The tag is its X-Request-Id, and its message's end."""
        conn = self.add(user, tag, directives, fields, path, text, **members)
        conn.send(b"")
        wait_until(conn.is_taken, what="the request is read")
        return conn

    def add(self, user, tag="", directives="tokens=1", fields=(),
            path=CHAT_PATH, text="hi", **members):
        """The same, not waiting for anything."""
        body = chat_body(directives, messages=[
            {"role": "user", "content": f"{text} {tag}".strip()}], **members)
        if tag:
            fields = [*fields, f"X-Request-Id: {tag}"]
        conn = Conn(self.gateway.port, ["POST"])
        conn.tag = tag
        conn.began = time.monotonic()
        conn.ended = None
        conn.unsent = post(body, self.gateway.keys[user], path, fields)
        conn.push()
        self.conns.append(conn)
        return conn

    def wait(self, condition, timeout=PATIENCE, what=""):
        """Reads from all of them until condition() holds.  conn.ended is when
        its answer was whole."""
        with selectors.DefaultSelector() as selector:
            for conn in self.conns:
                if conn.sock.fileno() >= 0 and conn.end is None:
                    selector.register(conn.sock, selectors.EVENT_READ, conn)
            deadline = time.monotonic() + timeout
            while not condition():
                assert time.monotonic() < deadline, what or condition
                for conn in self.conns:
                    if conn.unsent:
                        conn.push()
                for key, _ in selector.select(0.005):
                    conn = key.data
                    conn.pull()
                    if conn.reader.replies and conn.ended is None:
                        conn.ended = time.monotonic()
                    if conn.end is not None:
                        selector.unregister(conn.sock)

    def answered(self):
        return [c for c in self.conns if c.reader.replies]

    def wait_all(self, timeout=PATIENCE):
        """Until each has its answer.  Returns the answers, in order."""
        self.wait(lambda: all(c.reader.replies or c.sock.fileno() < 0
                              for c in self.conns), timeout, "all answers")
        return [c.reader.replies[0] for c in self.conns if c.reader.replies]


def tags(mock):
    """The X-Request-Ids in the order in which the model server got them."""
    found = []
    for entry in mock.requests():
        named = [v for k, v in entry["headers"]
                 if k.lower() == "x-request-id"]
        text = re.search(r'"content": ?"[^"]* ([\w-]+)"', entry["body"])
        found.append(text[1] if text else (named or [""])[0])
    return found


def by_tag(lines):
    """The ledger's lines by their request's tag."""
    return {line["client_request_id"]: line for line in lines}


def is_integer(text, least=1, most=10 ** 6):
    return text is not None and re.fullmatch(r"\d+", text) is not None and \
        least <= int(text) <= most


def dollars(sentence):
    """All amounts of money that a sentence names."""
    return [float(x.replace(",", ""))
            for x in re.findall(r"\$([\d,]*\d(?:\.\d+)?)", sentence)]


def sentence_of(reply):
    return reply.json()["error"]["message"]


def text_of_size(tokens, seed):
    """About so many tokens at four bytes each; no two seeds share a
    beginning."""
    word = f"{seed} "
    return (word * (tokens * 4 // len(word) + 1))[:tokens * 4]
