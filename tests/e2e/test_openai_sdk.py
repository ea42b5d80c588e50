"""The official OpenAI SDK for Node does with the gateway what it does with
OpenAI: base URL and key are all that changes."""

import base64
import json
import struct

import pytest

from harness import basic_config, chat_body, post
from sdk import Sdk, sdks  # noqa: F401  (a fixture)

pytestmark = pytest.mark.usefixtures("sdks")


@pytest.fixture(scope="module")
def config(mock_server):
    config = basic_config(mock_server)
    config["models"]["org/model"] = config["models"]["m"]
    config["users"]["limited"] = {
        "models": ["*"], "limits": {"requests_per_minute": 20}}
    config["users"]["counted"] = {
        "models": ["*"], "limits": {"requests_per_minute": 60}}
    config["users"]["alone"] = {"models": ["*"], "limits": {"concurrent": 1}}
    config["upstreams"]["mock"]["queue"] = {"size": 0}
    config["users"]["stopped"] = {
        "models": ["*"], "limits": {"requests_per_minute": 0}}
    return config


def sdk_of(gateway, user, key=None):
    return Sdk("openai.mjs", {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{gateway.port}/v1",
        "OPENAI_API_KEY": key or gateway.keys[user]})


@pytest.fixture
def sdk(gateway):
    return sdk_of(gateway, "alice")


def text_of(chunks):
    return "".join(choice["delta"].get("content") or ""
                   for chunk in chunks for choice in chunk["choices"])


def only(lines):
    assert len(lines) == 1, lines
    return lines[0]


def test_a_chat_returns_the_words_and_the_usage(gateway, sdk):
    answer = sdk.run("chat", mock="tokens=3,prompt=20,cached=8")
    assert answer["choices"][0]["message"]["content"] == " tea sea sun"
    assert answer["usage"]["completion_tokens"] == 3
    line = only(gateway.lines())
    assert (line["prompt_tokens"], line["cached_tokens"],
            line["completion_tokens"]) == (20, 8, 3)
    assert line["usage_source"] == "upstream" and line["end"] == "ok"
    assert line["client"].startswith("OpenAI/JS")


def test_a_stream_brings_the_words_one_by_one(gateway, sdk):
    seen = sdk.run("stream", mock="tokens=6,interval=50,prompt=20")
    assert text_of(seen["events"]) == " tea sea sun owl oak elm"
    assert seen["times"][-1] - seen["times"][0] > 150, "not all at once"
    line = only(gateway.lines())
    assert line["stream"] and line["completion_tokens"] == 6
    assert line["usage_source"] == "upstream"


def test_usage_that_was_not_asked_for_is_metered_and_hidden(
        gateway, sdk, mock):
    seen = sdk.run("stream", mock="tokens=4,prompt=20")
    assert all(chunk["choices"] for chunk in seen["events"])
    assert not any(chunk.get("usage") for chunk in seen["events"])
    assert '"include_usage":true' in mock.last()["body"].replace(" ", "")
    assert only(gateway.lines())["prompt_tokens"] == 20


def test_usage_that_was_asked_for_comes_last(gateway, sdk):
    seen = sdk.run("stream", mock="tokens=4,prompt=20",
                   stream_options={"include_usage": True})
    assert text_of(seen["events"]) == " tea sea sun owl"
    last = seen["events"][-1]
    assert last["choices"] == []
    assert last["usage"]["prompt_tokens"] == 20
    assert last["usage"]["completion_tokens"] == 4
    assert only(gateway.lines())["completion_tokens"] == 4


def test_usage_that_was_declined_stays_hidden(gateway, sdk):
    seen = sdk.run("stream", mock="tokens=4,prompt=20",
                   stream_options={"include_usage": False})
    assert text_of(seen["events"]) == " tea sea sun owl"
    assert not any(chunk.get("usage") for chunk in seen["events"])
    assert only(gateway.lines())["prompt_tokens"] == 20


def test_a_completion_returns_the_words(gateway, sdk):
    answer = sdk.run("completion", mock="tokens=2")
    assert answer["choices"][0]["text"] == " tea sea"
    assert only(gateway.lines())["api"] == "completions"


def test_embeddings_are_vectors_and_cost_input_only(gateway, sdk):
    answer = sdk.run("embeddings", mock="prompt=9", encoding_format="float")
    assert [e["index"] for e in answer["data"]] == [0, 1]
    assert answer["data"][0]["embedding"][:3] == [0.1, 0.2, 0.3]
    line = only(gateway.lines())
    assert line["api"] == "embeddings" and line["usage_source"] == "upstream"
    assert (line["prompt_tokens"], line["completion_tokens"]) == (9, 0)


def test_embeddings_come_in_base64_unless_the_program_says_otherwise(
        gateway, sdk, mock):
    vector = [0.5, -1.25, 3.0]
    mock.replay(json.dumps({
        "object": "list", "model": "m",
        "data": [{"object": "embedding", "index": 0, "embedding":
                  base64.b64encode(struct.pack("<3f", *vector)).decode()}],
        "usage": {"prompt_tokens": 7, "total_tokens": 7}}))
    answer = sdk.run("embeddings", mock="replay=body")
    assert answer["data"][0]["embedding"] == vector
    asked = json.loads(mock.last()["body"])
    assert asked["encoding_format"] == "base64", "the SDK's own default"
    assert only(gateway.lines())["prompt_tokens"] == 7


def test_the_models_are_those_that_the_user_may_use(sdk):
    assert {m["id"] for m in sdk.run("models")} == {"m", "org/model"}


def test_a_model_with_a_slash_in_its_name_is_found(sdk, mock):
    assert sdk.run("model", id="org/model")["id"] == "org/model"
    mock.assert_untouched()


def test_a_model_that_is_not_there_is_a_not_found_error(sdk):
    error = sdk.error("chat", model="gpt-none")
    assert error["name"] == "NotFoundError" and error["status"] == 404
    assert error["code"] == "model_not_found"
    assert "org/model" in error["message"], "it says what there is"


def test_a_response_returns_the_words(gateway, sdk):
    answer = sdk.run("response", mock="tokens=3,prompt=20")
    assert answer["output_text"] == " tea sea sun"
    line = only(gateway.lines())
    assert line["api"] == "responses" and line["completion_tokens"] == 3


def test_a_streamed_response_ends_with_its_usage(gateway, sdk):
    seen = sdk.run("streamedResponse", mock="tokens=3,prompt=20")
    words = [e["delta"] for e in seen["events"]
             if e["type"] == "response.output_text.delta"]
    assert "".join(words) == " tea sea sun"
    last = seen["events"][-1]
    assert last["type"] == "response.completed"
    assert last["response"]["usage"]["input_tokens"] == 20
    line = only(gateway.lines())
    assert (line["prompt_tokens"], line["completion_tokens"]) == (20, 3)


def test_a_wrong_key_is_told_once_and_not_tried_again(gateway, mock):
    right = gateway.keys["alice"]
    wrong = right[:-1] + ("a" if right[-1] != "a" else "b")
    error = sdk_of(gateway, None, wrong).error("chat")
    assert error["name"] == "AuthenticationError" and error["status"] == 401
    assert error["code"] == "invalid_api_key"
    assert "mistyped" in error["message"]
    mock.assert_untouched()


def test_the_sdk_waits_out_a_rate_limit_by_itself(gateway):
    statuses = [gateway.chat("tokens=1", gateway.keys["limited"]).status
                for _ in range(21)]
    assert statuses == [200] * 20 + [429]
    before = len(gateway.lines())
    answer = sdk_of(gateway, "limited").run("chat", mock="tokens=2")
    assert answer["choices"][0]["message"]["content"] == " tea sea"
    ends = [line["end"] for line in gateway.lines()[before:]]
    assert ends == ["rate_limited", "ok"], "a place comes every 3 s"


def test_an_sdk_that_may_not_retry_is_told_how_long_to_wait(gateway):
    sdk = sdk_of(gateway, "stopped")
    error = sdk.error("chat", options={"maxRetries": 0})
    assert error["name"] == "RateLimitError" and error["status"] == 429
    assert error["code"] == "rate_limit_exceeded"
    assert int(error["headers"]["retry-after"]) >= 1
    assert only(gateway.lines())["end"] == "rate_limited"


def test_where_waiting_is_in_vain_the_sdk_asks_once(gateway, mock):
    error = sdk_of(gateway, "stopped").error("chat")
    assert error["name"] == "RateLimitError"
    assert "0 requests a minute" in error["message"]
    assert only(gateway.lines())["end"] == "rate_limited"
    mock.assert_untouched()


def stalled_request(gateway):
    return post(chat_body("fault=hang_mid,tokens=9", stream=True),
                gateway.keys["alone"])


def test_one_too_many_at_once_is_tried_three_times(gateway, mock):
    sdk = sdk_of(gateway, "alone")
    with gateway.connect(["POST"]) as first:
        first.send(stalled_request(gateway))
        mock.wait_stats(in_flight=1)
        error = sdk.error("chat")
        assert error["name"] == "RateLimitError"
        assert "under way" in error["message"]
        ends = [line["end"] for line in gateway.lines()]
        assert ends == ["concurrent"] * 3, "the first try and two more"
        assert mock.stats()["served"] == 1
    mock.wait_stats(in_flight=0)


def test_the_sdk_takes_the_place_that_another_gives_up(gateway, mock):
    sdk = sdk_of(gateway, "alone")
    with gateway.connect(["POST"]) as first:
        first.send(stalled_request(gateway))
        mock.wait_stats(in_flight=1)
        second = sdk.start("chat", mock="tokens=2")
        gateway.wait_ledger(lambda lines: lines and
                            lines[-1]["end"] == "concurrent")
    mock.wait_stats(in_flight=0)
    answer = sdk.finish(second)["result"]
    assert answer["choices"][0]["message"]["content"] == " tea sea"


def test_an_aborted_stream_frees_the_model_server(gateway, sdk, mock):
    events = sdk.run("leave", after=3, mock="tokens=10000,interval=20")
    assert len(events) == 3
    mock.wait_stats(in_flight=0, streams_cut=1)
    line = only(gateway.lines())
    assert line["end"] == "client_gone"
    assert line["usage_source"] == "estimated"
    assert 0 < line["completion_tokens"] < 1000


def test_the_headers_say_what_is_left_of_the_limit(gateway):
    sdk = sdk_of(gateway, "counted")
    sdk.run("chat", mock="tokens=1")
    headers = sdk.run("headers", mock="tokens=1")
    assert headers["x-ratelimit-limit-requests"] == "60"
    assert 58 <= int(headers["x-ratelimit-remaining-requests"]) <= 59
    assert headers["x-weir-upstream"] == "mock"


def test_a_dead_model_server_is_tried_three_times_and_then_told(
        gateway, sdk, mock):
    mock.refuse()
    error = sdk.error("chat")
    assert error["status"] == 502
    assert "mock refused the connection" in error["message"]
    ends = [line["end"] for line in gateway.lines()]
    assert ends == ["connect_error"] * 3
    mock.accept()
    assert sdk.run("chat", mock="tokens=1")["choices"]


def test_a_death_in_mid_stream_reaches_the_program_as_an_error(gateway, sdk):
    error = sdk.error("stream", mock="tokens=9,fault=reset_mid,after=2")
    assert error["name"] in ("APIError", "APIConnectionError"), error
    assert only(gateway.lines())["end"] == "upstream_reset"
