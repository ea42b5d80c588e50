"""Every kind of model server, each in its own words: the client gets what the
server sent, and the ledger what the server counted."""

import json
import pathlib
from fractions import Fraction

import pytest

from dialects import (ANTHROPIC, CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES,
                      new_lines)
from harness import basic_config, wait_until
from kinds import (KINDS, RERANK, RUNNING, RUNNING_WISH, WISH, Direct, assert_same,
                   counts, kinds_config, without_own_chunk)
from wire import chunked, head

COUNTS = "tokens=9,prompt=77,cached=30,cache_write=20,reasoning=4"

# These tell what an answer cost in other ways than in its body, or not at all.
UNTOLD = [("tei", RERANK), ("cohere", RERANK)]

ALL = [(name, d) for name, (_, apis) in KINDS.items() for d in apis]
STREAMS = [(name, d) for name, d in ALL if d.can_stream]
CHUNKED = [(name, d) for name, d in STREAMS if d in (CHAT, COMPLETIONS)]


def named(rows):
    return pytest.mark.parametrize(
        "name, dialect", [pytest.param(n, d, id=f"{n}-{d.name}")
                          for n, d in rows])


@pytest.fixture(scope="module")
def config(mock_server):
    return kinds_config(basic_config(mock_server), mock_server)


def request(gateway, name, dialect, directives=COUNTS, **members):
    return dialect.request(gateway.keys["alice"], f"kind={name},{directives}",
                           model=name, **members)


def direct(mock, name, dialect, directives=COUNTS, **members):
    return Direct(mock, dialect.request(
        None, f"kind={name},{directives}", model="mock-model", **members))


def assert_counted(mock, line):
    """The line has exactly what the mock has worked."""
    entry = mock.last()
    assert counts(line) == entry["charged"], (line, entry)
    assert entry["charged"]["input"] == 77


# --- the words ---------------------------------------------------------------

WIRE = pathlib.Path(__file__).parents[1] / "data" / "wire"

# What is recorded of a kind: its file's name, the kind, the API.
RECORDED = [
    ("vllm-chat-stream", "vllm", CHAT), ("vllm-chat-json", "vllm", CHAT),
    ("vllm-completions-stream", "vllm", COMPLETIONS),
    ("vllm-responses-stream", "vllm", RESPONSES),
    ("vllm-messages-json", "vllm", ANTHROPIC),
    ("vllm-embeddings-json", "vllm", EMBEDDINGS),
    ("vllm-rerank-json", "vllm", RERANK),
    ("llamacpp-chat-stream", "llamacpp", CHAT),
    ("llamacpp-chat-json", "llamacpp", CHAT),
    ("llamacpp-completions-stream", "llamacpp", COMPLETIONS),
    ("llamacpp-responses-stream", "llamacpp", RESPONSES),
    ("llamacpp-messages-stream", "llamacpp", ANTHROPIC),
    ("llamacpp-rerank-json", "llamacpp", RERANK),
    ("mlxlm-chat-stream", "mlx_lm", CHAT),
    ("mlxlm-chat-json", "mlx_lm", CHAT),
    ("mlxvlm-chat-stream", "mlx_vlm", CHAT),
    ("mlxvlm-rerank-json", "mlx_vlm", RERANK),
    ("rapidmlx-chat-stream", "rapidmlx", CHAT),
    ("rapidmlx-chat-json", "rapidmlx", CHAT),
    ("ollama-chat-stream", "ollama", CHAT),
    ("ollama-messages-stream", "ollama", ANTHROPIC),
    ("ollama-embeddings-json", "ollama", EMBEDDINGS),
    ("openai-chat-stream", "openai-cloud", CHAT),
    ("openai-completions-stream", "openai-cloud", COMPLETIONS),
    ("openai-responses-stream", "openai-cloud", RESPONSES),
    ("anthropic-messages-stream", "anthropic", ANTHROPIC),
    ("anthropic-messages-json", "anthropic", ANTHROPIC),
    ("xai-chat-stream", "xai", CHAT), ("xai-chat-json", "xai", CHAT),
    ("deepseek-chat-stream", "deepseek", CHAT),
    ("openrouter-chat-stream", "openrouter", CHAT),
    ("fireworks-chat-stream", "fireworks", CHAT),
    ("fireworks-chat-json", "fireworks", CHAT),
    ("tei-rerank-json", "tei", RERANK),
    ("tei-embeddings-json", "tei", EMBEDDINGS),
]


def usage_document(body):
    """The last document of a body that has usage, in pairs to keep the order;
    and the line that it stands in."""
    lines = body.split("\n") if "data: " in body else [body]
    found = [x for x in lines if '"usage"' in x or '"score"' in x]
    text = found[-1].removeprefix("data: ")
    return json.loads(text, object_pairs_hook=list), text


def keys_in_order(value, path=""):
    """Every key of a document with its path, once, as they come."""
    found = {}
    if isinstance(value, list):
        for x in value:
            if isinstance(x, tuple):
                found[f"{path}.{x[0]}"] = None
                found |= keys_in_order(x[1], f"{path}.{x[0]}")
            else:
                found |= keys_in_order(x, path)
    return found


@pytest.mark.parametrize("file, name, dialect", RECORDED,
                         ids=[x[0] for x in RECORDED])
def test_the_mock_says_usage_in_the_order_and_spelling_that_were_recorded(
        mock, file, name, dialect):
    is_stream = file.endswith("-stream")
    wish = WISH if is_stream and dialect in (CHAT, COMPLETIONS) else {}
    body = direct(mock, name, dialect, "tokens=9,prompt=77,cached=30",
                  stream=is_stream, **wish).body
    real, real_text = usage_document((WIRE / f"{file}.txt").read_text())
    ours, our_text = usage_document(body.decode())
    wanted, is_so = keys_in_order(real), keys_in_order(ours)
    both = [k for k in wanted if k in is_so]
    assert [k for k in is_so if k in wanted] == both
    assert {k for k in wanted if ".usage." in k and "iterations" not in k
            and "tokens" in k} <= set(both) | OPTIONAL, file
    assert (": " in real_text) == (": " in our_text)


# Of the usage: what only some answers have.
OPTIONAL = {
    ".response.usage.input_tokens_details.cached_tokens_per_turn",
    ".response.usage.output_tokens_details.output_tokens_per_turn",
    ".response.usage.output_tokens_details.tool_output_tokens_per_turn",
    ".usage.completion_tokens_details",
    ".usage.prompt_tokens_details.video_tokens",
    ".usage.completion_tokens_details.accepted_prediction_tokens",
    ".usage.completion_tokens_details.rejected_prediction_tokens",
}


# --- answers -----------------------------------------------------------------

@named(ALL)
def test_a_plain_answer_is_passed_on_and_counted(gateway, mock, name, dialect):
    wanted = direct(mock, name, dialect)
    reply = gateway.send(request(gateway, name, dialect))
    assert (reply.status, wanted.status) == (200, 200), reply
    assert_same(reply.body, wanted.body, name)
    line, = new_lines(gateway, 1)
    assert line["end"] == "ok" and not line["usage_damaged"], line
    if (name, dialect) in UNTOLD:
        assert line["usage_source"] in ("estimated", "upstream"), line
        assert line["prompt_tokens"] > 0, line
    else:
        assert line["usage_source"] == "upstream", line
        assert_counted(mock, line)


@named(STREAMS)
def test_a_stream_is_passed_on_and_counted(gateway, mock, name, dialect):
    is_chunked = dialect in (CHAT, COMPLETIONS)
    wish = WISH if is_chunked else {}
    wanted = direct(mock, name, dialect, stream=True, **wish)
    reply = gateway.send(request(gateway, name, dialect, stream=True))
    assert reply.status == 200 and reply.is_whole, reply
    expected = without_own_chunk(wanted.body) if is_chunked else wanted.body
    assert_same(reply.body, expected, name)
    line, = new_lines(gateway, 1)
    assert (line["end"], line["usage_source"]) == ("ok", "upstream"), line
    assert_counted(mock, line)


@named(CHUNKED)
def test_who_asked_for_usage_gets_it(gateway, mock, name, dialect):
    wanted = direct(mock, name, dialect, stream=True, **WISH)
    reply = gateway.send(
        request(gateway, name, dialect, stream=True, **WISH))
    assert_same(reply.body, wanted.body, name)
    line, = new_lines(gateway, 1)
    assert (line["end"], line["usage_source"]) == ("ok", "upstream"), line
    assert_counted(mock, line)


@named([x for x in CHUNKED if x[0] in RUNNING])
def test_who_asked_for_running_counts_gets_them(gateway, mock, name, dialect):
    wanted = direct(mock, name, dialect, stream=True, **RUNNING_WISH)
    reply = gateway.send(
        request(gateway, name, dialect, stream=True, **RUNNING_WISH))
    assert_same(reply.body, wanted.body, name)
    assert wanted.body.count(b'"completion_tokens":') > 9
    line, = new_lines(gateway, 1)
    assert line["usage_source"] == "upstream", line
    assert_counted(mock, line)


@named(CHUNKED)
def test_running_counts_are_asked_only_of_who_has_them(
        gateway, mock, name, dialect):
    gateway.send(request(gateway, name, dialect, stream=True))
    options = json.loads(mock.last()["body"])["stream_options"]
    assert options["include_usage"] is True
    assert options.get("continuous_usage_stats", False) == (name in RUNNING)
    gateway.send(request(gateway, name, dialect))
    assert "stream_options" not in json.loads(mock.last()["body"])


@named([x for x in CHUNKED if x[0] in RUNNING])
@pytest.mark.parametrize("more", ["", ",size=1", ",size=400", ",interval=2",
                                  ",tokens=1", ",tokens=0", ",reasoning=0"])
@pytest.mark.parametrize("n", [1, 2])
def test_nobody_sees_the_running_counts_that_the_gateway_asked_for(
        gateway, mock, name, dialect, more, n):
    """As if it had not asked at all."""
    wanted = direct(mock, name, dialect, COUNTS + more, stream=True, n=n)
    assert b'"prompt_tokens"' not in wanted.body
    reply = gateway.send(
        request(gateway, name, dialect, COUNTS + more, stream=True, n=n))
    assert_same(reply.body, wanted.body, name)
    line, = new_lines(gateway, 1)
    assert line["usage_source"] == "upstream", line
    assert_counted(mock, line)


# --- who leaves --------------------------------------------------------------

def leave(gateway, mock, name, dialect, directives, words, **members):
    """Leaves once so many words have come and the server waits.  Returns the
    line, and what the mock had worked by then."""
    with gateway.connect(["POST"]) as c:
        c.send(request(gateway, name, dialect, directives, stream=True,
                       **members))
        mock.wait_stats(held=1)
        c.until(lambda c: len(dialect_text(dialect, c)) >= 4 * words)
    mock.wait_stats(held=0, in_flight=0, streams_cut=1)
    line, = new_lines(gateway, 1)
    assert line["end"] == "client_gone", line
    return line, mock.last()["charged"]


def dialect_text(dialect, conn):
    """What has come, but for ollama's first sign."""
    body = conn.body_so_far()
    text = "".join(dialect.event_text(e) for e in whole_events(body))
    return text.replace("<", "")


def whole_events(body):
    for line in body.decode().split("\n"):
        if line.startswith("data: {"):
            try:
                yield json.loads(line[6:])
            except json.JSONDecodeError:
                return


@named([x for x in CHUNKED if x[0] in RUNNING])
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("after, reasoning", [(1, 0), (5, 0), (7, 2), (9, 0)])
def test_who_leaves_pays_what_was_counted_until_then(
        gateway, mock, name, dialect, n, after, reasoning):
    if dialect is COMPLETIONS:
        reasoning = 0
    after = min(after, 9 * n)
    line, charged = leave(
        gateway, mock, name, dialect,
        f"tokens=9,prompt=77,reasoning={reasoning},pause={after}",
        after - n * reasoning, n=n)
    assert line["usage_source"] == "running", line
    assert (line["prompt_tokens"], line["completion_tokens"]) == \
        (77, charged["output"]) == (77, after), (line, charged)


@named([x for x in STREAMS if x[0] not in RUNNING or x[1] not in
        (CHAT, COMPLETIONS)])
def test_who_leaves_where_nothing_is_counted_pays_an_estimate(
        gateway, mock, name, dialect):
    line, charged = leave(gateway, mock, name, dialect,
                          "tokens=9,prompt=77,size=40,pause=5", 50)
    assert charged["output"] == 5
    assert line["usage_source"] in ("estimated", "running"), line
    assert line["prompt_tokens"] > 0 and line["completion_tokens"] > 0, line


def test_a_held_answer_goes_on_when_it_is_told(gateway, mock):
    with gateway.connect(["POST"]) as c:
        c.send(request(gateway, "vllm", CHAT, "tokens=6,prompt=77,pause=3",
                       stream=True))
        mock.wait_stats(held=1)
        mock.control("go", b"")
        assert CHAT.has_end_mark(c.reply().body)
    line, = new_lines(gateway, 1)
    assert (line["end"], line["completion_tokens"]) == ("ok", 6), line


# --- what goes wrong ---------------------------------------------------------

# Kinds whose stream just ends.
MUTE = ["mlx_lm", "ollama"]


@named(CHUNKED)
def test_an_error_in_a_stream_is_passed_on_in_the_servers_words(
        gateway, mock, name, dialect):
    directives = "tokens=9,prompt=77,size=40,fault=error_mid,after=3"
    wanted = direct(mock, name, dialect, directives, stream=True, **WISH)
    reply, = gateway.raw(request(
        gateway, name, dialect, directives, stream=True,
        fields=["Connection: close"]), ["POST"])
    line, = new_lines(gateway, 1)
    if name in MUTE:  # what came, and then the gateway's own words
        assert_same(reply.body[:len(wanted.body)], wanted.body)
        assert dialect.error_event(reply.body), reply.body[-400:]
        assert b"[DONE]" not in reply.body
        assert line["end"] == "upstream_reset", line
    else:
        assert_same(reply.body, wanted.body, name)
        assert line["end"] == "upstream_error", line
    if name in RUNNING:
        assert line["usage_source"] == "running", line
        assert (line["prompt_tokens"], line["completion_tokens"]) == (77, 3)
    else:
        assert line["usage_source"] == "estimated", line
        assert line["prompt_tokens"] > 0 < line["completion_tokens"], line


@named(ALL)
@pytest.mark.parametrize("status", [429, 500])
def test_a_refusal_is_passed_on_and_free(gateway, mock, name, dialect, status):
    wanted = direct(mock, name, dialect, f"status={status}")
    reply = gateway.send(request(gateway, name, dialect, f"status={status}"))
    assert (reply.status, reply.body) == (status, wanted.body)
    line, = new_lines(gateway, 1)
    assert (line["end"], line["usage_source"]) == ("upstream_error", "none")
    assert counts(line) == mock.last()["charged"] == dict.fromkeys(
        counts(line), 0), line


# Every way on a few kinds, one way on all.
DAMAGED = [(n, d, k) for n, d in STREAMS
           for k in ["negative", "float", "string", "huge"]
           if k == "negative" or n in ("openai", "vllm", "anthropic")]


@pytest.mark.parametrize("name, dialect, damage", DAMAGED, ids=[
    f"{n}-{d.name}-{k}" for n, d, k in DAMAGED])
def test_a_count_that_cannot_be_is_marked_and_not_believed(
        gateway, mock, name, dialect, damage):
    gateway.send(request(gateway, name, dialect,
                         f"tokens=9,prompt=77,size=400,damage={damage}"))
    line, = new_lines(gateway, 1)
    assert line["usage_damaged"], line
    assert line["usage_source"] == "estimated", line
    assert line["prompt_tokens"] == 77, line
    assert 0 < line["completion_tokens"] <= 200, line


# --- one by one --------------------------------------------------------------

def test_llamacpp_tells_by_its_timings_where_usage_is_missing(gateway, mock):
    gateway.send(request(gateway, "llamacpp", CHAT,
                         COUNTS + ",fault=no_usage", stream=True))
    line, = new_lines(gateway, 1)
    assert (line["end"], line["usage_source"]) == ("ok", "timings"), line
    assert_counted(mock, line)


def test_mlx_lm_gets_a_length_and_no_query(gateway, mock):
    body = json.dumps(CHAT.body("kind=mlx_lm," + COUNTS, model="mlx_lm"))
    reply = gateway.send(head(
        "POST", "/v1/chat/completions?x=1", gateway.keys["alice"],
        ["Content-Type: application/json", "Transfer-Encoding: chunked"]) +
        chunked(body.encode()))
    assert reply.status == 200, reply
    line, = new_lines(gateway, 1)
    assert_counted(mock, line)


@pytest.mark.parametrize("prompt", [1, 5, 2048, 2049, 4096, 100_000])
def test_mlx_lms_progress_is_passed_on(gateway, mock, prompt):
    directives = f"tokens=2,prompt={prompt}"
    wanted = direct(mock, "mlx_lm", CHAT, directives, stream=True, **WISH)
    assert wanted.body.startswith(b": keepalive ")
    reply = gateway.send(
        request(gateway, "mlx_lm", CHAT, directives, stream=True))
    assert_same(reply.body, without_own_chunk(wanted.body))
    line, = new_lines(gateway, 1)
    assert line["prompt_tokens"] == prompt, line


@pytest.mark.parametrize("is_stream", [False, True])
def test_all_of_anthropics_iterations_are_paid(gateway, mock, is_stream):
    reply = gateway.send(request(gateway, "anthropic", ANTHROPIC,
                                 COUNTS + ",iterations=1", stream=is_stream))
    assert b'"type":"compaction"' in reply.body
    line, = new_lines(gateway, 1)
    assert line["usage_source"] == "upstream", line
    assert_counted(mock, line)


def test_openrouter_tells_what_it_costs(gateway, mock):
    reply = gateway.send(request(gateway, "openrouter", CHAT, stream=True))
    cost = next(e["usage"]["cost"] for e in reply.events()
                if e.get("usage"))
    line, = new_lines(gateway, 1)
    assert Fraction(line["upstream_cost_usd"]) == Fraction(str(cost)) > 0


@named([x for x in ALL if x[1] is EMBEDDINGS])
def test_embeddings_in_base64_are_passed_on(gateway, mock, name, dialect):
    wish = {"encoding_format": "base64", "input": ["a", "b", "c"]}
    wanted = direct(mock, name, dialect, **wish)
    reply = gateway.send(request(gateway, name, dialect, **wish))
    assert_same(reply.body, wanted.body, name)
    assert isinstance(reply.json()["data"][2]["embedding"], str)
    line, = new_lines(gateway, 1)
    assert line["usage_source"] == "upstream", line
    assert_counted(mock, line)


@named([x for x in ALL if x[1] is RERANK])
def test_every_rerank_dialect_names_the_best_document(
        gateway, mock, name, dialect):
    answer = gateway.send(request(gateway, name, dialect)).json()
    results = answer if isinstance(answer, list) else answer["results"]
    assert results[0]["index"] == 1, answer
    new_lines(gateway, 1)


@pytest.mark.parametrize("name", ["vllm", "llamacpp", "ollama"])
def test_a_responses_event_may_say_its_type_last(gateway, mock, name):
    reply = gateway.send(request(gateway, name, RESPONSES, stream=True))
    last = reply.body.decode().strip().split("\n")[-1]
    assert json.loads(last[6:])["type"] == "response.completed"
    line, = new_lines(gateway, 1)
    assert_counted(mock, line)


def test_queue_comments_do_not_begin_an_answer(gateway, mock):
    """OpenRouter's come at once; the first word comes when it is told."""
    with gateway.connect(["POST"]) as c:
        c.send(request(gateway, "openrouter", CHAT,
                       "tokens=3,prompt=77,pause=0", stream=True))
        mock.wait_stats(held=1)
        assert c.body_so_far() == b""
        mock.control("go", b"")
        assert b": OPENROUTER PROCESSING" in c.reply().body
    wait_until(lambda: mock.stats()["held"] == 0)
    line, = new_lines(gateway, 1)
    assert line["end"] == "ok", line
