"""What a client gets while it waits is life to the official SDKs, and nothing
else: the answer behind it is read as if it had come at once, and so is a
failure.  The bytes are the gateway's own (weir-waiting-stream); the server here
only sends them, event by event."""

import json
import pathlib
import subprocess
import time

import pytest

from harness import ROOT, bin_dir
from scripted import Scripted, read_request
from sdk import Sdk, sdks  # noqa: F401  (a fixture)

pytestmark = pytest.mark.usefixtures("sdks")

WIRE = pathlib.Path(ROOT) / "tests" / "data" / "wire"
HEAD = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n")
OUR_ID = "resp_01K9X4ABCDEFGHJKMNPQRSTVWX"


def waiting_stream(api, signs, stream=None, end=None):
    """The events of a stream that begins with so many signs of life."""
    done = subprocess.run(
        [str(bin_dir() / "weir-waiting-stream"), api, str(signs),
         *([end] if end else [])],
        input=(WIRE / f"{stream}-stream.txt").read_bytes() if stream else b"",
        capture_output=True, timeout=60, check=True)
    events = done.stdout.split(b"\n\n")
    assert events.pop() == b"", "it ends with an empty line"
    return [event + b"\n\n" for event in events]


class Server:
    """Answers each request with the head and the events, one chunk each."""

    def __init__(self):
        self.events = []
        self.requests = []
        self.interval = 0
        self.delay = 0
        self.is_whole = True
        self.scripted = Scripted(self.answer)

    def answer(self, conn):
        head, body = read_request(conn)
        lines = head.decode("latin-1").split("\r\n")
        self.requests.append({
            "line": lines[0], "body": json.loads(body),
            **{name.lower(): value for name, value in
               (line.split(": ", 1) for line in lines[1:])}})
        # A server that is so slow: what is tried here is a client's patience.
        time.sleep(self.delay)
        conn.sendall(HEAD)
        for event in self.events:
            conn.sendall(b"%x\r\n%b\r\n" % (len(event), event))
            time.sleep(self.interval)
        if self.is_whole:
            conn.sendall(b"0\r\n\r\n")

    def stream(self, *arguments, **members):
        self.events = waiting_stream(*arguments, **members)

    @property
    def openai(self):
        return Sdk("openai.mjs", {"OPENAI_BASE_URL": self.scripted.url,
                                  "OPENAI_API_KEY": "sk-x"})

    @property
    def anthropic(self):
        return Sdk("anthropic.mjs", {
            "ANTHROPIC_BASE_URL": self.scripted.url.removesuffix("/v1"),
            "ANTHROPIC_API_KEY": "sk-x"})


@pytest.fixture
def server():
    server = Server()
    yield server
    server.scripted.stop()



# --- the answer behind the signs ---------------------------------------------

def test_a_chat_is_put_together_behind_comments(server):
    server.stream("chat", 6, "openai-chat")
    assert server.events[0] == b": waiting, position 3, about 15 s\n\n"
    assert server.events[5] == \
        b": waiting for the first token, 1m 15s so far\n\n"
    answer = server.openai.run("finalChat")
    assert answer["choices"][0]["message"]["content"] == "Tea."


def test_the_chunks_of_a_chat_are_those_without_comments(server):
    server.stream("chat", 0, "openai-chat")
    at_once = server.openai.run("stream")["events"]
    server.stream("chat", 6, "openai-chat")
    assert server.openai.run("stream")["events"] == at_once


def test_the_chunks_of_a_completion_are_those_without_comments(server):
    server.stream("completions", 0, "openai-completions")
    at_once = server.openai.run("streamedCompletion")["events"]
    assert at_once
    server.stream("completions", 4, "openai-completions")
    assert server.openai.run("streamedCompletion")["events"] == at_once


def test_a_message_is_put_together_behind_pings(server):
    server.stream("messages", 0, "anthropic-messages")
    at_once = server.anthropic.run("finalMessage")
    text = at_once["content"][0]["text"]
    assert text.startswith("Tea") and text.endswith(" time.")
    server.stream("messages", 5, "anthropic-messages")
    assert server.events[0] == b'event: ping\ndata: {"type": "ping"}\n\n'
    assert server.anthropic.run("finalMessage") == at_once


def test_the_events_of_a_message_are_those_without_pings(server):
    server.stream("messages", 0, "anthropic-messages")
    at_once = server.anthropic.run("stream")["events"]
    server.stream("messages", 5, "anthropic-messages")
    assert server.anthropic.run("stream")["events"] == at_once


@pytest.mark.parametrize("upstream, text", [
    ("openai-responses", "Tea"), ("vllm-responses", "Tea.")])
def test_a_response_is_put_together_behind_ours(server, upstream, text):
    server.stream("responses", 5, upstream)
    answer = server.openai.run("finalResponse")
    assert [part["text"] for item in answer["output"]
            for part in item["content"]] == [text]
    assert answer["status"] == "completed" and answer["id"] == OUR_ID


@pytest.mark.parametrize("upstream", ["openai-responses", "vllm-responses"])
def test_the_events_of_a_response_are_one_sequence_of_one_response(
        server, upstream):
    server.stream("responses", 0, upstream)
    at_once = server.openai.run("streamedResponse")["events"]
    server.stream("responses", 5, upstream)
    events = server.openai.run("streamedResponse")["events"]
    types = [event["type"] for event in events]
    assert types == ["response.created"] + ["keepalive"] * 4 + \
        [event["type"] for event in at_once[1:]]
    assert [event["sequence_number"] for event in events] == \
        list(range(len(events)))
    assert {event["response"]["id"] for event in events
            if "response" in event} == {OUR_ID}


def test_a_response_without_numbers_is_read_behind_ours(server):
    server.stream("responses", 5, "llamacpp-responses")
    events = server.openai.run("streamedResponse")["events"]
    assert [e["type"] for e in events].count("response.created") == 1
    assert "".join(e["delta"] for e in events
                   if e["type"] == "response.output_text.delta") == "Tea."
    assert {e["response"]["id"] for e in events if "response" in e} == {OUR_ID}


# --- a failure behind the signs ----------------------------------------------

BUSY = "All model servers for this model are busy. Try again shortly."


@pytest.mark.parametrize("scenario", ["stream", "finalChat"])
@pytest.mark.parametrize("end", ["error", "gap-error"])
def test_a_chat_that_fails_throws(server, scenario, end):
    server.stream("chat", 4, end=end)
    server.is_whole = False  # as the gateway breaks off
    error = server.openai.error(scenario)
    assert error["name"] == "APIError" and BUSY in error["message"]
    assert error["code"] == "overloaded"
    assert len(server.requests) == 1, "it has begun: nobody tries again"


@pytest.mark.parametrize("scenario", ["stream", "finalMessage"])
@pytest.mark.parametrize("end", ["error", "gap-error"])
def test_a_message_that_fails_throws(server, scenario, end):
    server.stream("messages", 4, end=end)
    server.is_whole = False
    error = server.anthropic.error(scenario)
    assert error["name"] == "APIError" and BUSY in error["message"]
    assert error["body"]["error"]["type"] == "overloaded_error"
    assert len(server.requests) == 1


@pytest.mark.parametrize("scenario", ["streamedResponse", "finalResponse"])
@pytest.mark.parametrize("end", ["error", "gap-error"])
def test_a_response_that_fails_throws(server, scenario, end):
    server.stream("responses", 4, end=end)
    server.is_whole = False
    error = server.openai.error(scenario)
    assert error["name"] == "APIError" and BUSY in error["message"]
    assert error["code"] == "overloaded"
    assert len(server.requests) == 1


# --- the SDKs' patience ------------------------------------------------------

def timeouts_told(server, sdk, scenarios, **members):
    """By each of the scenarios; None where nothing is told."""
    for scenario in scenarios:
        getattr(server, sdk).run(scenario, **members)
    assert not any("x-stainless-read-timeout" in r for r in server.requests)
    return [r.get("x-stainless-timeout") for r in server.requests]


TIMEOUTS = [({"timeout": 5000}, "5"), ({"timeout": 900}, "0")]


@pytest.mark.parametrize("options, told", [({}, None), *TIMEOUTS])
def test_openais_sdk_tells_a_requests_timeout_in_whole_seconds(
        server, options, told):
    server.stream("chat", 0, "openai-chat")
    assert timeouts_told(server, "openai", ["stream", "finalChat"],
                         options=options) == [told] * 2


def test_openais_sdk_keeps_a_clients_timeout_to_itself(server):
    server.stream("chat", 0, "openai-chat")
    assert timeouts_told(server, "openai", ["patientChat"],
                         timeout=5000) == [None]


@pytest.mark.parametrize("options, told", [({}, "600"), *TIMEOUTS])
def test_anthropics_sdk_always_tells_its_timeout(server, options, told):
    server.stream("messages", 0, "anthropic-messages")
    assert timeouts_told(server, "anthropic", ["stream", "finalMessage"],
                         options=options) == [told] * 2


def test_anthropics_sdk_tells_a_clients_timeout_too(server):
    server.stream("messages", 0, "anthropic-messages")
    assert timeouts_told(server, "anthropic", ["patientMessage"],
                         timeout=5000) == ["5"]


PATIENT = {"options": {"timeout": 1000, "maxRetries": 0}}


@pytest.mark.parametrize("sdk, scenario, api, stream", [
    ("openai", "finalChat", "chat", "openai-chat"),
    ("openai", "finalResponse", "responses", "openai-responses"),
    ("anthropic", "finalMessage", "messages", "anthropic-messages")])
def test_a_timeout_is_over_when_the_first_sign_has_come(
        server, sdk, scenario, api, stream):
    server.stream(api, 5, stream)
    server.delay, server.interval = 0.3, 0.3  # more than 1 s in all
    began = time.monotonic()
    assert getattr(server, sdk).run(scenario, **PATIENT)
    assert time.monotonic() - began > 1.3


@pytest.mark.parametrize("sdk, scenario", [
    ("openai", "finalChat"), ("openai", "finalResponse"),
    ("anthropic", "finalMessage")])
def test_without_any_sign_the_timeout_strikes(server, sdk, scenario):
    server.delay = 2
    error = getattr(server, sdk).error(scenario, **PATIENT)
    assert error["name"] == "APIConnectionTimeoutError"
