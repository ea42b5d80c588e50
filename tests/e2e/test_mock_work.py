"""weir-mock at work: slots, the reading of prompts, what it remembers of them,
and clients that leave."""

import threading
import time

import pytest

from harness import Mock, wait_until
from wire import Conn, post


@pytest.fixture(name="mock", scope="module")
def the_mock():
    mock = Mock()
    yield mock
    mock.stop()


@pytest.fixture(autouse=True)
def clean(mock):
    mock.reset()
    yield
    mock.set("slots=0")
    mock.wait_stats(in_flight=0, working=0, waiting=0)
    mock.reset()


def send(mock, directives="", text="hi", path="/v1/chat/completions",
         **members):
    """A connection on which a request is under way."""
    conn = Conn(mock.port, ["POST"])
    conn.send(post({"model": "m", "mock": directives,
                    "messages": [{"role": "user", "content": text}],
                    **members}, path=path))
    return conn


def ask(mock, directives="", **members):
    """(its answer, seconds until its end)."""
    begun = time.monotonic()
    with send(mock, directives, **members) as conn:
        if members.get("stream"):
            conn.until(lambda c: c.reader.replies)
        reply = conn.reply()
    return reply, time.monotonic() - begun


def cached(reply):
    usage = reply.json()["usage"]
    return usage["prompt_tokens_details"]["cached_tokens"]


def test_no_more_requests_than_slots_are_worked_on(mock):
    mock.set("slots=2,ttft=30")
    threads = [threading.Thread(target=ask, args=(mock,)) for _ in range(7)]
    begun = time.monotonic()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert time.monotonic() - begun >= 0.115, "four rounds of two"
    stats = mock.wait_stats(works_started=7, working=0, waiting=0)
    assert stats["max_working"] == 2 and stats["max_waiting"] <= 5
    assert stats["answers_finished"] == 7 and stats["works_cut"] == 0


def test_who_waits_is_served_in_the_order_of_arrival(mock):
    mock.set("slots=1,pause=0")
    conns = []
    for n in range(4):
        conns.append(send(mock, stream=True))
        mock.wait_stats(works_started=1, waiting=n)
    for n, conn in enumerate(conns):
        mock.wait_stats(works_started=n + 1, held=1)
        mock.control("go", b"")
        assert conn.reply().status == 200
        conn.close()
    mock.wait_stats(working=0)


def test_a_stream_that_waits_has_its_head_if_the_kind_sends_it_early(mock):
    mock.set("slots=1")
    first = send(mock, "ttft=60s")
    mock.wait_stats(working=1)
    with send(mock, "kind=vllm", stream=True) as early, \
            send(mock, stream=True) as late:
        mock.wait_stats(waiting=2)
        early.until(lambda c: c.reader.now is not None)
        assert not late.reader.raw and late.reader.now is None
        first.close()
        assert early.reply().status == late.reply().status == 200
    assert mock.stats()["max_working"] == 1


def test_a_slot_and_a_place_are_free_once_the_client_leaves(mock):
    mock.set("slots=1")
    first = send(mock, "ttft=60s")
    mock.wait_stats(working=1)
    second = send(mock, "ttft=60s")
    third = send(mock)
    mock.wait_stats(waiting=2)
    second.close()
    mock.wait_stats(waiting=1, works_cut=1)
    first.close()
    assert third.reply().status == 200
    third.close()
    assert mock.wait_stats(working=0)["works_started"] == 2


def test_slots_are_of_the_server_alone(mock):
    reply, _ = ask(mock, "slots=3")
    assert reply.status == 400 and "slots" in reply.json()["error"]["message"]


def test_count_tokens_and_refusals_need_no_slot(mock):
    mock.set("slots=1")
    with send(mock, "ttft=60s"):
        mock.wait_stats(working=1)
        reply, _ = ask(mock, path="/v1/messages/count_tokens", max_tokens=1)
        assert reply.status == 200
        assert ask(mock, "status=503")[0].status == 503
    assert mock.stats()["works_started"] == 1


def test_a_prompt_takes_its_time(mock):
    for stream in (False, True):
        mock.reset()
        reply, took = ask(mock, "prompt=1000,prefill=10000,tokens=1",
                          stream=stream)
        assert reply.status == 200 and 0.1 <= took < 5
        assert mock.stats()["prefill_tokens"] == 1000
    _, took = ask(mock, "prompt=100000,cached=100000,prefill=10,tokens=1")
    assert took < 5
    assert mock.stats()["prefill_tokens"] == 1000, "nothing was to be read"


def test_each_slot_reads_on_its_own(mock):
    mock.set("slots=2,prefill=1000,tokens=1")
    conns = [send(mock, "prompt=200") for _ in range(4)]
    begun = time.monotonic()
    for conn in conns:
        assert conn.reply().status == 200
        conn.close()
    assert 0.35 <= time.monotonic() - begun < 5
    assert mock.stats()["prefill_tokens"] == 800


def test_a_reading_that_is_broken_off_begins_anew(mock):
    mock.set("prefix_cache=1,prefill=1000,prompt=400,tokens=1")
    begun = time.monotonic()
    conn = send(mock, text="the same")
    mock.wait_stats(working=1)
    conn.close()
    stats = mock.wait_stats(working=0, prefills_cut=1)
    spent = time.monotonic() - begun
    assert stats["prefill_tokens"] <= spent * 1000
    reply, took = ask(mock, text="the same")
    assert took >= 0.4 and cached(reply) == 0
    assert mock.stats()["prefill_tokens"] == stats["prefill_tokens"] + 400


def test_what_was_read_whole_is_cached(mock):
    mock.set("prefix_cache=1,prefill=100000,tokens=1")
    long = "river " * 2000
    first, _ = ask(mock, text=long)
    total = first.json()["usage"]["prompt_tokens"]
    assert cached(first) == 0
    again, _ = ask(mock, text=long)
    assert cached(again) == total - 1, "the last one is always read"
    more, _ = ask(mock, messages=[
        {"role": "user", "content": long},
        {"role": "assistant", "content": "stone " * 500}])
    usage = more.json()["usage"]
    assert total - 4 <= cached(more) <= total < usage["prompt_tokens"]
    other, _ = ask(mock, text="other " * 2000)
    assert cached(other) <= 10
    read = sum(r.json()["usage"]["prompt_tokens"] - cached(r)
               for r in (first, again, more, other))
    assert mock.stats()["prefill_tokens"] == read
    mock.reset()
    mock.set("prefix_cache=1")
    assert cached(ask(mock, text=long)[0]) == 0


def test_the_rate_paces_streams_and_delays_plain_answers(mock):
    for stream in (False, True):
        reply, took = ask(mock, "rate=100,tokens=11", stream=stream)
        assert reply.status == 200 and 0.1 <= took < 5


def plain_mlx(mock, directives):
    return send(mock, "kind=mlx_lm," + directives)


def test_mlx_lm_does_not_notice_that_the_client_of_a_plain_answer_left(mock):
    mock.set("slots=1")
    begun = time.monotonic()
    plain_mlx(mock, "rate=50,tokens=20").close()
    mock.wait_stats(works_alone=1, working=1, in_flight=1)
    next_one = send(mock)
    assert next_one.reply().status == 200
    next_one.close()
    assert time.monotonic() - begun >= 0.4, "the slot was taken until then"
    stats = mock.wait_stats(working=0, connections_open=0)
    assert stats["works_started"] == 2 and stats["works_cut"] == 0
    assert stats["answers_cut"] == 1 and stats["usage_answers"] == 1


def test_it_notices_in_a_stream_and_others_always_do(mock):
    mock.set("slots=1,ttft=60s")
    for directives, stream in (("kind=mlx_lm", True), ("", False),
                               ("kind=vllm", False)):
        conn = send(mock, directives, stream=stream)
        mock.wait_stats(working=1)
        conn.close()
        mock.wait_stats(working=0)
    assert mock.stats()["works_alone"] == 0


def test_works_on_holds_for_any_kind_and_in_the_middle(mock):
    conn = send(mock, "works_on=1,tokens=20,rate=50", stream=True)
    conn.until(lambda c: b" sea" in c.body_so_far())
    conn.reset()
    mock.wait_stats(works_alone=1, working=1)
    stats = mock.wait_stats(working=0)
    assert stats["content_events"] == 20, "to the end"
    last = mock.last()
    assert last["charged"]["output"] == 20


def test_a_reading_goes_on_alone_and_is_remembered(mock):
    mock.set("prefix_cache=1,prefill=1000,prompt=300,tokens=1")
    conn = send(mock, "works_on=1", text="the same")
    mock.wait_stats(working=1)
    conn.close()
    stats = mock.wait_stats(working=0)
    assert (stats["prefill_tokens"], stats["prefills_cut"]) == (300, 0)
    assert cached(ask(mock, text="the same")[0]) == 299


def test_threads_share_the_slots():
    mock = Mock("many", "--threads", "3", "--set", "slots=2,ttft=10,tokens=1")
    conns = [send(mock) for _ in range(30)]
    for conn in conns:
        assert conn.reply().status == 200
        conn.close()
    stats = mock.wait_stats(working=0, works_started=30)
    assert stats["max_working"] == 2
    wait_until(lambda: mock.stats()["connections_open"] == 0)
    mock.stop()
