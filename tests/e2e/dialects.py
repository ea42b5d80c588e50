"""The APIs as a table: how each is asked, what its answer and its error look
like, and what a ledger line must say whatever it is about."""

import json

from harness import wait_until
from wire import post

# The mock's words, one a token.
WORDS = " tea sea sun owl oak elm bee fox hen ant cup jar rye fig sky bay"


class Dialect:
    """One API on the wire."""

    def __init__(self, name, path, prompt, can_stream=True):
        self.name = name  # as the ledger calls it
        self.path = path
        self.prompt = prompt
        self.can_stream = can_stream

    @property
    def is_anthropic(self):
        return self.name == "messages"

    def body(self, mock="", model="m", stream=False, **members):
        body = {"model": model, **self.prompt, **members}
        if mock:
            body["mock"] = mock
        if stream:
            body["stream"] = True
        return body

    def request(self, key, mock="", fields=(), **members):
        """A whole POST as bytes."""
        return post(self.body(mock, **members), key, self.path, fields)

    def text(self, reply):
        """The model's words, streamed or not, also of a stream cut short."""
        if reply.header("Content-Type") == "application/json":
            return self.plain_text(reply.json())
        return "".join(self.event_text(e) for e in events(reply.body))

    def plain_text(self, answer):
        if self.name == "messages":
            return "".join(c.get("text", "") for c in answer["content"])
        if self.name == "responses":
            return "".join(c["text"] for o in answer["output"]
                           for c in o.get("content", ())
                           if c["type"] == "output_text")
        choice = answer["choices"][0]
        return choice["text"] if self.name == "completions" else \
            choice["message"]["content"]

    def event_text(self, event):
        if self.name == "messages":
            return event.get("delta", {}).get("text", "")
        if self.name == "responses":
            is_delta = event.get("type") == "response.output_text.delta"
            return event["delta"] if is_delta else ""
        return "".join(
            c["text"] if self.name == "completions"
            else c["delta"].get("content") or ""
            for c in event.get("choices", ()))

    def has_end_mark(self, body):
        """Whether the client would take this stream for a whole one."""
        if self.name == "messages":
            return b'"type":"message_stop"' in body
        if self.name == "responses":
            return b'"type":"response.completed"' in body
        return b"data: [DONE]" in body

    def error_event(self, body):
        """The error that a client's SDK would raise from this stream: its
        last event, and the only one."""
        found = [e for e in events(body) if "error" in e or
                 e.get("type") == "response.failed"]
        if not found:
            return None
        assert len(found) == 1 and events(body)[-1] == found[0], body[-800:]
        if self.name == "responses":
            return found[0]["response"]["error"]
        if self.name == "messages":
            assert found[0]["type"] == "error", found
        return found[0]["error"]

    def error_type(self, reply):
        """The machine's word for what went wrong: OpenAI's code, Anthropic's
        type."""
        document = reply.json()
        error = document["error"]
        assert error["message"].endswith("."), error
        if self.is_anthropic:
            assert document["type"] == "error", document
            return error["type"]
        assert error["type"], error
        return error["code"]


def events(body):
    """The JSON documents of an event stream, also of one cut short."""
    found = []
    for line in body.decode().split("\n"):
        if line.startswith("data: {"):
            try:
                found.append(json.loads(line[6:]))
            except json.JSONDecodeError:
                pass  # broken off
    return found


MESSAGES = [{"role": "user", "content": "hi"}]
CHAT = Dialect("chat", "/v1/chat/completions", {"messages": MESSAGES})
COMPLETIONS = Dialect("completions", "/v1/completions", {"prompt": "hi"})
RESPONSES = Dialect("responses", "/v1/responses", {"input": "hi"})
ANTHROPIC = Dialect("messages", "/v1/messages",
                    {"messages": MESSAGES, "max_tokens": 16})
EMBEDDINGS = Dialect("embeddings", "/v1/embeddings", {"input": ["hi"]},
                     can_stream=False)

# What an error is called in the one and in the other.
ANTHROPIC_STATUS = {503: 529}
ANTHROPIC_TYPE = {
    "upstream_unavailable": "api_error",
    "upstream_timeout": "timeout_error",
    "overloaded": "overloaded_error",
    "rate_limit_exceeded": "rate_limit_error",
    "paid_route_refused": "permission_error",
    "model_not_found": "not_found_error",
    "invalid_api_key": "authentication_error",
}


def assert_says(dialect, reply, status, code):
    """The reply is this error of ours, in the dialect's own words."""
    if dialect.is_anthropic:
        status = ANTHROPIC_STATUS.get(status, status)
        code = ANTHROPIC_TYPE[code]
    assert (reply.status, dialect.error_type(reply)) == (status, code), reply
    assert reply.is_whole and reply.header("Content-Type") == \
        "application/json", reply


def new_lines(gateway, count):
    """The lines of this test: exactly so many."""
    wait_until(lambda: len(gateway.ledger()) - gateway.mark >= count,
               what=f"{count} new lines in the ledger")
    lines = gateway.lines()
    assert len(lines) == count, lines
    return lines


def results(line):
    """What became of each attempt: "one:connect two:ok"."""
    return " ".join(f"{a['upstream']}:{a['result']}" for a in line["attempts"])
