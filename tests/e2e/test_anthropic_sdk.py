"""The official Anthropic SDK for Node speaks to /v1/messages through the gateway
as it does to Anthropic."""

import pytest

from harness import basic_config
from sdk import Sdk, sdks  # noqa: F401  (a fixture)

pytestmark = pytest.mark.usefixtures("sdks")


@pytest.fixture(scope="module")
def config(mock_server):
    config = basic_config(mock_server)
    config["users"]["stopped"] = {
        "models": ["*"], "limits": {"requests_per_minute": 0}}
    return config


def sdk_of(gateway, user, variable="ANTHROPIC_API_KEY"):
    return Sdk("anthropic.mjs", {
        # Without /v1: it appends /v1/messages itself.
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{gateway.port}",
        variable: gateway.keys.get(user, user)})


@pytest.fixture
def sdk(gateway):
    return sdk_of(gateway, "alice")


def only(lines):
    assert len(lines) == 1, lines
    return lines[0]


def test_a_message_returns_the_words_and_the_usage(gateway, sdk, mock):
    answer = sdk.run("message", mock="tokens=3,prompt=20,cached=8")
    assert answer["content"][0]["text"] == " tea sea sun"
    assert answer["usage"]["output_tokens"] == 3
    line = only(gateway.lines())
    assert line["api"] == "messages" and line["usage_source"] == "upstream"
    assert line["completion_tokens"] == 3 and line["cached_tokens"] == 8
    names = {name.lower() for name, _ in mock.last()["headers"]}
    assert "anthropic-version" in names, "it is passed on"


def test_a_stream_brings_every_event_in_its_order(gateway, sdk):
    seen = sdk.run("stream", mock="tokens=5,interval=50,prompt=20")
    types = [e["type"] for e in seen["events"]]
    assert types[0] == "message_start" and types[-1] == "message_stop"
    words = [e["delta"]["text"] for e in seen["events"]
             if e["type"] == "content_block_delta"]
    assert words == [" tea", " sea", " sun", " owl", " oak"]
    assert seen["times"][-1] - seen["times"][0] > 120, "not all at once"
    line = only(gateway.lines())
    assert (line["prompt_tokens"], line["completion_tokens"]) == (20, 5)


def test_the_sdk_puts_a_stream_together(sdk):
    answer = sdk.run("finalMessage", mock="tokens=4,prompt=20")
    assert answer["content"][0]["text"] == " tea sea sun owl"
    assert answer["usage"]["output_tokens"] == 4
    assert answer["stop_reason"]


def test_tokens_can_be_counted(gateway, sdk):
    assert sdk.run("countTokens", mock="prompt=123") == {"input_tokens": 123}
    assert only(gateway.lines())["status"] == 200


def test_the_query_of_the_beta_calls_goes_on_to_the_model_server(sdk, mock):
    assert sdk.run("beta", mock="tokens=2")["content"][0]["text"] == " tea sea"
    assert mock.last()["target"] == "/v1/messages?beta=true"


def test_a_token_in_place_of_a_key_is_taken(gateway):
    sdk = sdk_of(gateway, "alice", "ANTHROPIC_AUTH_TOKEN")
    assert sdk.run("message", mock="tokens=1")["content"][0]["text"] == " tea"
    assert only(gateway.lines())["user"] == "alice"


def test_a_wrong_key_is_an_authentication_error(gateway, mock):
    error = sdk_of(gateway, "sk-ant-of-somebody-else").error("message")
    assert error["name"] == "AuthenticationError" and error["status"] == 401
    assert error["body"]["type"] == "error"
    assert error["body"]["error"]["type"] == "authentication_error"
    mock.assert_untouched()


def test_an_unknown_model_is_a_not_found_error_with_the_models_there_are(sdk):
    error = sdk.error("message", model="claude-none")
    assert error["name"] == "NotFoundError" and error["status"] == 404
    assert error["body"]["error"]["type"] == "not_found_error"
    assert "It may use: m." in error["body"]["error"]["message"]


def test_a_rate_limit_is_a_rate_limit_error(gateway, mock):
    error = sdk_of(gateway, "stopped").error("message",
                                             options={"maxRetries": 0})
    assert error["name"] == "RateLimitError" and error["status"] == 429
    assert error["body"]["error"]["type"] == "rate_limit_error"
    assert int(error["headers"]["retry-after"]) >= 1
    mock.assert_untouched()


def test_an_aborted_stream_frees_the_model_server(gateway, sdk, mock):
    events = sdk.run("leave", after=5, mock="tokens=10000,interval=20")
    assert len(events) == 5
    mock.wait_stats(in_flight=0, streams_cut=1)
    line = only(gateway.lines())
    assert line["end"] == "client_gone"
    assert line["usage_source"] == "estimated"


def test_a_death_in_mid_stream_reaches_the_program_as_an_error(gateway, sdk):
    error = sdk.error("stream", mock="tokens=9,fault=reset_mid,after=2")
    assert error["name"] in ("APIError", "APIConnectionError"), error
    assert only(gateway.lines())["end"] == "upstream_reset"
