"""The kinds of model servers that the mock can be, and what each of them has;
and a look at an answer without the gateway between."""

import json
import re
import socket

from dialects import (ANTHROPIC, CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES,
                      Dialect)
from wire import PATIENCE

RERANK = Dialect("rerank", "/v1/rerank",
                 {"query": "wind", "documents": ["Bread.", "Kites."]},
                 can_stream=False)

TALK = [CHAT, COMPLETIONS, RESPONSES, ANTHROPIC]
SMALL = [EMBEDDINGS, RERANK]

# The mock's kind, the gateway's, and the APIs that such a server has.
KINDS = {
    "openai": ("openai", TALK + SMALL),
    "openai-cloud": ("openai", [CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS]),
    "vllm": ("vllm", TALK + SMALL),
    "sglang": ("sglang", [CHAT, COMPLETIONS] + SMALL),
    "llamacpp": ("llamacpp", TALK + SMALL),
    "mlx_lm": ("mlx_lm", [CHAT, COMPLETIONS]),
    "mlx_vlm": ("mlx_vlm", [CHAT, RESPONSES, ANTHROPIC] + SMALL),
    "rapidmlx": ("rapidmlx", TALK + [EMBEDDINGS]),
    "ollama": ("ollama", TALK + [EMBEDDINGS]),
    "tei": ("tei", SMALL),
    "infinity": ("infinity", SMALL),
    "cohere": ("openai", [RERANK]),
    "jina": ("openai", SMALL),
    "anthropic": ("anthropic", [ANTHROPIC]),
    "fireworks": ("fireworks", TALK + [EMBEDDINGS]),
    "fireworks-own": ("fireworks", [CHAT]),
    "xai": ("xai", [CHAT, RESPONSES]),
    "deepseek": ("deepseek", [CHAT]),
    "openrouter": ("openrouter", TALK + [EMBEDDINGS]),
    "azure": ("openai", [CHAT]),
    "groq": ("openai", [CHAT]),
    "mistral": ("openai", [CHAT]),
    "together": ("openai", [CHAT]),
}

# They take continuous_usage_stats, and so are asked for it.
RUNNING = ["vllm", "sglang"]

WISH = {"stream_options": {"include_usage": True}}
RUNNING_WISH = {"stream_options": {"include_usage": True,
                                   "continuous_usage_stats": True}}


def kinds_config(config, mock):
    """Adds an upstream and a model for each kind, all of them at this mock:
    the request's own directives say which kind it shall be."""
    for name, (kind, _) in KINDS.items():
        config["upstreams"][f"at-{name}"] = {
            "url": mock.url, "kind": kind, "paid": False,
            "timeouts": {"idle": "50ms"}}
        config["models"][name] = {
            "routes": [{"to": f"at-{name}", "model": "mock-model"}]}
    return config


class Direct:
    """The answer of the mock itself, read to the end of its connection."""

    def __init__(self, mock, data):
        with socket.create_connection(("127.0.0.1", mock.port),
                                      PATIENCE) as sock:
            sock.sendall(data.replace(
                b"\r\n", b"\r\nConnection: close\r\n", 1))
            raw = b""
            while piece := sock.recv(1 << 20):
                raw += piece
        head, _, self.body = raw.partition(b"\r\n\r\n")
        self.status = int(head.split(b" ")[1])
        if b"Transfer-Encoding: chunked" in head:
            self.body = dechunk(self.body)


def dechunk(data):
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        body += data[:int(size, 16)]
        data = data[int(size, 16) + 2:]
    return body


def same(body):
    """Without what is another in every answer: ids and times."""
    body = re.sub(rb'("(?:created|created_at|completed_at)": ?)\d+', rb"\1T",
                  body)
    return re.sub(rb"(?<=[A-Za-z_-])1\d{5}(?![0-9A-Za-z.])", b"ID", body)


def assert_same(got, wanted, name=""):
    """The same bytes but for ids and times; else where they part.  Whether
    SGLang says null where there is no count is not known."""
    got, wanted = same(got), same(wanted)
    if name == "sglang":
        got, wanted = (x.replace(b',"usage":null', b"") for x in (got, wanted))
    if got == wanted:
        return
    at = next((i for i, (a, b) in enumerate(zip(got, wanted)) if a != b),
              min(len(got), len(wanted)))
    begin = max(0, at - 200)
    raise AssertionError(f"at byte {at}:\n got    {got[begin:at + 200]!r}\n "
                         f"wanted {wanted[begin:at + 200]!r}")


def without_own_chunk(body):
    """A stream without the chunk that has usage and no choices."""
    events = re.split(rb"(?<=\n\n)", body)
    return b"".join(e for e in events if not is_own_chunk(e))


def is_own_chunk(event):
    if not event.startswith(b"data: {"):
        return False
    data = json.loads(event[6:])
    return data.get("choices") == [] and bool(data.get("usage"))


def counts(line):
    """A ledger line's tokens, as the mock calls them."""
    return {"input": line["prompt_tokens"],
            "output": line["completion_tokens"],
            "cached": line["cached_tokens"],
            "cache_write": line["cache_write_tokens"],
            "reasoning": line["reasoning_tokens"]}
