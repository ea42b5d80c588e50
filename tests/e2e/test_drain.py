"""`on_disconnect: drain`: an answer whose client has gone is read on, so that
its exact tokens are known; but not for ever, and not too many at once."""

import time

import pytest

from dialects import ANTHROPIC, CHAT, new_lines
from harness import basic_config, wait_until

DRAINS_MOST = 64
both = pytest.mark.parametrize("dialect", [CHAT, ANTHROPIC],
                               ids=lambda d: d.name)


@pytest.fixture(scope="module")
def config(mock_server):
    config = basic_config(mock_server)
    config["upstreams"]["mock"]["on_disconnect"] = "drain"
    config["users"]["bob"]["limits"] = {"concurrent": 1}
    return config


def leave_stream(gateway, dialect, directives, how="close", user="alice"):
    """Sends a request and is gone after the first word."""
    conn = gateway.connect(["POST"])
    conn.send(dialect.request(gateway.keys[user], directives, stream=True))
    conn.until(lambda c: b" tea" in c.body_so_far())
    conn.reset() if how == "reset" else conn.close()


def served(mock):
    return [r["served"] for r in mock.requests() if r.get("served")]


@both
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_stream_is_read_to_its_usage(gateway, mock, dialect, how):
    leave_stream(gateway, dialect, "tokens=40,interval=10", how)
    line, = new_lines(gateway, 1)
    assert line["end"] == "client_gone", line
    assert line["usage_source"] == "upstream", line
    assert line["completion_tokens"] == 40, line
    assert line["attempts"][-1]["result"] == "client_gone", line
    mock.wait_stats(answers_finished=1, answers_cut=0)
    # What nobody was there to get was not sent.
    assert line["bytes_out"] < served(mock)[0]["bytes"], line


@both
@pytest.mark.parametrize("is_stream", [True, False],
                         ids=["stream", "document"])
def test_an_answer_that_has_not_begun_is_waited_for(
        gateway, mock, dialect, is_stream):
    conn = gateway.connect(["POST"])
    conn.send(dialect.request(gateway.keys["alice"], "tokens=5,ttft=300",
                              stream=is_stream))
    mock.wait_stats(in_flight=1)
    conn.close()
    line, = new_lines(gateway, 1)
    assert (line["end"], line["status"]) == ("client_gone", 0), line
    assert line["usage_source"] == "upstream", line
    assert line["completion_tokens"] == 5, line
    mock.wait_stats(answers_finished=1, answers_cut=0)


def test_nobody_else_is_asked_for_a_client_that_has_gone(gateway, mock):
    conn = gateway.connect(["POST"])
    conn.send(CHAT.request(gateway.keys["alice"],
                           "ttft=300,fault=close_early", stream=True))
    mock.wait_stats(in_flight=1)
    conn.close()
    line, = new_lines(gateway, 1)
    assert line["end"] == "client_gone", line
    assert len(line["attempts"]) == 1, line
    assert mock.stats()["served"] == 1


def test_the_user_may_go_on_meanwhile(start, config, mock):
    gateway = start(config)
    leave_stream(gateway, CHAT, "tokens=2,tail=60s", user="bob")
    wait_until(lambda: gateway.chat("tokens=1", key=gateway.keys["bob"])
               .status == 200, what="bob has his place back")
    mock.wait_stats(in_flight=1)
    # Nor does the gateway wait for it when it stops.
    gateway.stop()
    wait_until(lambda: "client_gone" in gateway.ledger_path.read_text(),
               what="the line is there")


def test_there_are_only_so_many_at_once(gateway, mock):
    for _ in range(DRAINS_MOST):
        leave_stream(gateway, CHAT, "tokens=2,tail=60s")
    mock.wait_stats(in_flight=DRAINS_MOST, answers_cut=0)
    leave_stream(gateway, CHAT, "tokens=2,tail=60s")
    mock.wait_stats(in_flight=DRAINS_MOST, answers_cut=1)
    assert "are being read to their end" in gateway.log()
    begun = time.monotonic()
    # And none is read for longer than half a minute.
    mock.wait_stats(in_flight=0, answers_cut=DRAINS_MOST + 1, timeout=45)
    assert time.monotonic() - begun > 20
    lines = new_lines(gateway, DRAINS_MOST + 1)
    assert {x["end"] for x in lines} == {"client_gone"}
    assert {x["usage_source"] for x in lines} <= {"running", "estimated"}
    assert all(x["completion_tokens"] > 0 for x in lines)
