"""How long a prompt takes to read is learnt from real answers, foretold, and
told to those who would not wait that long."""

import re
import statistics
import time

import pytest

from admission import Crowd, is_integer, sentence_of, text_of_size
from dialects import ANTHROPIC, CHAT, assert_says
from harness import Mock, basic_config

LATE = "upstream_timeout"
RATE = 4000  # tokens a second that the slow server reads
SLOW = f"prefill={RATE},tokens=1"


@pytest.fixture(scope="module")
def two_server():
    server = Mock("two")
    yield server
    server.stop()


@pytest.fixture
def two(two_server):
    two_server.reset()
    yield two_server
    two_server.reset()


def with_prompts(mock_server, two_server):
    """All models are the same one of the same server, but for what happens to
    a prompt that takes too long."""
    config = basic_config(mock_server)
    brief = {"idle": "50ms"}
    config["upstreams"] |= {
        "slow": {"url": mock_server.url, "timeouts": brief,
                 "max_inflight": 1, "queue": {"size": 8, "wait": "60s"}},
        "brief": {"url": mock_server.url,
                  "timeouts": {**brief, "first_token": "1s"}},
        "two": {"url": two_server.url, "timeouts": brief}}
    for name, to, keys in (
            ("warns", "slow", {}), ("says-warn", "slow", {"prefill": "warn"}),
            ("refuses", "slow", {"prefill": "refuse"}),
            ("off", "slow", {"prefill": "off"}),
            ("mute", "slow", {"keepalive": "off"}),
            ("short", "brief", {"prefill": "refuse"})):
        config["models"][name] = {"commit_after": "100ms", **keys,
                                  "routes": [{"to": to, "model": "kimi"}]}
    config["models"]["moves"] = {"prefill": "refuse", "routes": [
        {"to": "slow", "model": "kimi"}, {"to": "two", "model": "other"}]}
    return config


@pytest.fixture(scope="module")
def config(mock_server, two_server):
    return with_prompts(mock_server, two_server)


def said(tokens, seed):
    return [{"role": "user", "content": text_of_size(tokens, seed)}]


def ask(gateway, tokens, seed, model="warns", mock=SLOW, fields=(), **more):
    return gateway.chat(mock, model=model, messages=said(tokens, seed),
                        fields=fields, **more)


seeds = iter(range(10 ** 6))


def fresh():
    """A beginning that no prompt before had."""
    return f"seed{next(seeds)}"


def teach(gateway, model="warns", count=12):
    """Prompts of 100 to 650 tokens, and a longer one.  Streams alone tell when their first
    token came."""
    for tokens in [*(100 + 50 * n for n in range(count)), 2000]:
        reply = ask(gateway, tokens, fresh(), model, stream=True)
        assert reply.status == 200, reply


@pytest.fixture
def taught(gateway, mock):
    lines = [x for x in gateway.ledger() if x["predicted_ttft_ms"] is not None]
    if not lines:
        teach(gateway)
        teach(gateway, "short")
    gateway.begin()
    mock.reset()
    return gateway


@pytest.fixture
def crowd(taught):
    with Crowd(taught) as crowd:
        yield crowd


def leave_when_begun(gateway, mock, tokens, model="warns", fields=(),
                     **members):
    """A stream that is left once its head is there.  Returns the head."""
    with Crowd(gateway) as crowd:
        conn = crowd.send("alice", fresh(), SLOW, fields, model=model,
                          stream=True, text=text_of_size(tokens, fresh()),
                          **members)
        conn.until(lambda c: c.reader.now is not None or c.reader.replies)
        reply = conn.reader.now or conn.reader.replies[0]
    mock.wait_stats(in_flight=0)
    return reply


# --- the guess ---------------------------------------------------------------

def test_the_time_to_the_first_token_is_foretold_within_a_fifth(
        start, mock_server, two_server, mock):
    """A mixed run: prompts of 50 to 2,000 tokens, streamed and not, before a
    server that reads 4,000 a second."""
    gateway = start(with_prompts(mock_server, two_server))
    sizes = [50, 800, 200, 1600, 400, 120, 1000, 600, 300, 2000]
    for n, size in enumerate(sizes * 3):
        reply = ask(gateway, size, fresh(), stream=n % 2 == 0)
        assert reply.status == 200, reply
    lines = gateway.lines()
    assert len(lines) == 3 * len(sizes)
    assert lines[0]["predicted_ttft_ms"] is None, "nothing is known"
    told = [x for x in lines[len(sizes):]
            if x["predicted_ttft_ms"] is not None]
    assert len(told) == 2 * len(sizes)
    errors = [abs(x["predicted_ttft_ms"] - x["ttft_ms"]) / x["ttft_ms"]
              for x in told]
    print(f"median error of {len(told)} predictions: "
          f"{statistics.median(errors):.1%}")
    assert statistics.median(errors) <= 0.2, errors
    gateway.stop()


def test_one_odd_answer_does_not_spoil_it(taught):
    ask(taught, 400, fresh(), mock="prefill=400,tokens=1", stream=True)
    ask(taught, 400, fresh())
    line = taught.lines()[-1]
    assert abs(line["predicted_ttft_ms"] - line["ttft_ms"]) <= \
        0.4 * line["ttft_ms"]


def test_the_queue_is_part_of_it(taught, mock, crowd):
    """Two that take half a second each go before."""
    for _ in range(2):
        crowd.send("bob", fresh(), SLOW, model="warns",
                   text=text_of_size(2000, fresh()))
    mock.wait_stats(in_flight=1)
    reply = ask(taught, 400, fresh())
    assert reply.status == 200
    line = [x for x in taught.lines() if x["user"] == "alice"][0]
    assert line["predicted_ttft_ms"] > 200, line
    assert line["queue_ms"] > 300


def test_it_is_known_after_a_restart(start, mock_server, two_server, mock):
    gateway = start(with_prompts(mock_server, two_server))
    teach(gateway)
    gateway.flush_ledger()
    gateway.stop()
    gateway.start()
    gateway.begin()
    ask(gateway, 800, fresh())
    line = gateway.lines()[0]
    assert line["predicted_ttft_ms"] is not None
    assert abs(line["predicted_ttft_ms"] - line["ttft_ms"]) <= \
        0.3 * line["ttft_ms"]
    gateway.stop()


def test_what_is_cached_takes_no_time(taught, mock):
    mock.set("prefix_cache=1")
    seed = fresh()
    cold = ask(taught, 4000, seed)
    assert cold.status == 200
    warm = taught.chat(SLOW, model="warns", messages=[
        *said(4000, seed), {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "go on"}])
    usage = warm.json()["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > 3900
    first, second = taught.lines()
    assert first["predicted_ttft_ms"] > 700
    assert second["predicted_ttft_ms"] < 0.4 * first["predicted_ttft_ms"]
    assert second["ttft_ms"] < 0.4 * first["ttft_ms"]


def test_another_users_prompt_says_nothing_about_ones_own(taught, mock):
    """Nor does it tell what others have asked."""
    seed = fresh()
    assert ask(taught, 4000, seed).status == 200
    assert taught.chat(SLOW, taught.keys["bob"], model="warns",
                       messages=said(4000, seed)).status == 200
    first, second = taught.lines()
    assert second["predicted_ttft_ms"] > 0.7 * first["predicted_ttft_ms"]


def test_cached_answers_do_not_make_the_server_look_fast(taught, mock):
    mock.set("prefix_cache=1")
    seed = fresh()
    for _ in range(12):
        assert ask(taught, 600, seed, stream=True).status == 200
    mock.reset()
    assert ask(taught, 1200, fresh()).status == 200
    line = taught.lines()[-1]
    assert abs(line["predicted_ttft_ms"] - line["ttft_ms"]) <= \
        0.35 * line["ttft_ms"]


# --- who would not wait ------------------------------------------------------

LIMIT = ["x-weir-max-ttft: 1"]
LONG = 12000  # tokens: three seconds


@pytest.mark.parametrize("model", ["warns", "says-warn"])
def test_a_prompt_that_takes_too_long_is_warned_of(taught, mock, model):
    reply = leave_when_begun(taught, mock, LONG, model, LIMIT)
    assert reply.status == 200
    warning = reply.header("x-weir-prefill")
    seconds = re.search(r"predicted=(\d+(?:\.\d+)?)s", warning)
    assert 2.2 <= float(seconds[1]) <= 4.2, warning
    line = taught.lines()[0]
    assert line["prefill"] == "warned" and line["end"] == "client_gone"
    assert 2200 <= line["predicted_ttft_ms"] <= 4200
    assert mock.stats()["served"] == 1, "a guess is no wall"


def test_one_that_fits_is_not_warned_of(taught):
    reply = ask(taught, 300, fresh(), fields=LIMIT)
    assert reply.header("x-weir-prefill") is None
    assert not taught.lines()[0]["prefill"]


@pytest.mark.parametrize("dialect", [CHAT, ANTHROPIC], ids=lambda d: d.name)
@pytest.mark.parametrize("stream", [False, True])
def test_refuse_says_so_before_a_server_works_for_nothing(
        taught, mock, dialect, stream):
    begun = time.monotonic()
    reply = taught.send(dialect.request(
        taught.keys["alice"], SLOW, LIMIT, model="refuses", stream=stream,
        messages=said(LONG, fresh())))
    assert time.monotonic() - begun < 1
    assert_says(dialect, reply, 504, LATE)
    assert reply.header("x-should-retry") == "false"
    text = sentence_of(reply)
    numbers = [int(x.replace(",", ""))
               for x in re.findall(r"\d[\d,]*", text)]
    assert re.search(r"tokens(/s| a second)", text), text
    assert any(11000 <= n <= 13500 for n in numbers), "the tokens: " + text
    assert any(3000 <= n <= 5000 for n in numbers), "the rate: " + text
    assert re.search(r"\b1 s\b", text), "the client's limit: " + text
    assert re.search(r"\b[234] s\b", text), "the guess: " + text
    assert "imeout" in text or "x-weir-max-ttft" in text, "how to raise it"
    mock.assert_untouched()
    line = taught.lines()[0]
    assert line["prefill"] == "refused" and line["status"] == 504
    assert line["attempts"] == [] and line["prompt_tokens"] == 0


def test_the_next_route_is_taken_if_it_can_make_it(taught, mock, two):
    reply = ask(taught, LONG, fresh(), "moves", fields=LIMIT)
    assert reply.status == 200
    assert reply.header("x-weir-upstream") == "two"
    mock.assert_untouched()
    assert taught.lines()[0]["upstream"] == "two"


def test_what_one_asks_for_can_be_raised(taught, mock):
    reply = leave_when_begun(taught, mock, LONG, "refuses",
                             ["x-weir-max-ttft: 60"])
    assert reply.status == 200 and reply.header("x-weir-prefill") is None


def test_off_does_neither(taught, mock):
    reply = leave_when_begun(taught, mock, LONG, "off", LIMIT)
    assert reply.status == 200 and reply.header("x-weir-prefill") is None
    assert not taught.lines()[0]["prefill"]


SDK_LIMITS = ["x-stainless-timeout: 1", "x-stainless-read-timeout: 1"]


@pytest.mark.parametrize("field", SDK_LIMITS)
def test_the_sdks_timeout_counts_where_no_sign_of_life_goes_out(
        taught, mock, field):
    reply = ask(taught, LONG, fresh(), "refuses", fields=[field])
    assert_says(CHAT, reply, 504, LATE)
    mock.assert_untouched()
    reply = leave_when_begun(taught, mock, LONG, "refuses", [field])
    assert reply.status == 200, "a stream gets keep-alives"
    assert reply.header("x-weir-prefill") is None
    with Crowd(taught) as crowd:
        crowd.send("alice", "mute", SLOW, [field], model="mute",
                   stream=True, text=text_of_size(LONG, fresh()))
        mock.wait_stats(in_flight=1)
    mock.wait_stats(in_flight=0)
    line = [x for x in taught.lines() if x["client_request_id"] == "mute"]
    assert line[0]["prefill"] == "warned", "without keep-alives it counts"


def test_the_upstreams_own_limit_counts_without_the_queue(taught, mock):
    """`brief` gives up after 1 s without a token."""
    teach(taught, "short", 4)
    mock.reset()
    reply = ask(taught, LONG, fresh(), "short")
    assert_says(CHAT, reply, 504, LATE)
    assert reply.header("x-should-retry") == "false"
    assert "first_token" in sentence_of(reply)
    mock.assert_untouched()
    assert ask(taught, 300, fresh(), "short").status == 200


@pytest.mark.parametrize("value", ["", "0", "-1", "soon", "1e9", "9" * 40])
def test_a_limit_that_makes_no_sense_is_no_limit_or_refused(
        taught, mock, value):
    reply = ask(taught, 100, fresh(), "refuses",
                fields=[f"x-weir-max-ttft: {value}"])
    assert reply.status in (200, 400, 504), reply
    if reply.status == 504:
        assert value == "0"
    assert is_integer(reply.header("Content-Length"))
