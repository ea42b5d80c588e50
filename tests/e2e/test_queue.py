"""The queue before a full model server: who waits, in which order, how long,
and what those are told who may not wait."""

import statistics
import time

import pytest

from admission import Crowd, by_tag, is_integer, sentence_of, tags
from dialects import ANTHROPIC, CHAT, assert_says
from harness import Mock, basic_config, wait_until
from load import Load

LIMITED = "rate_limit_exceeded"
BUSY = "overloaded"
HOLD = "tokens=1,ttft=60s"
PRICE = [{"from": "2026-01-01", "input": "2", "output": "10"}]


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


def with_queues(mock_server, two_server):
    """One model server under many names, each with a queue of another kind;
    a model of the same name for each."""
    config = basic_config(mock_server)
    brief = {"idle": "50ms"}
    rooms = {
        "four": {"max_inflight": 4, "queue": {"size": 64, "wait": "60s"}},
        "one": {"max_inflight": 1, "queue": {"size": 64, "wait": "60s"}},
        "impatient": {"max_inflight": 1,
                      "queue": {"size": 8, "wait": "300ms"}},
        "tiny": {"max_inflight": 1, "queue": {"size": 1, "wait": "60s"}},
        "none": {"max_inflight": 1, "queue": {"size": 0}},
        "three": {"max_inflight": 1, "queue": {"size": 3, "wait": "60s"}},
        "share": {"max_inflight": 1,
                  "queue": {"size": 8, "wait": "60s", "per_user": 2}},
        "cache": {"max_inflight": 8, "kv_tokens": 1000,
                  "queue": {"size": 8, "wait": "60s"}},
        "whole": {"max_inflight": 8, "kv_tokens": 1000},
        "mlx": {"kind": "mlx_lm", "max_inflight": 1,
                "queue": {"size": 8, "wait": "60s"}},
        "wide": {"queue": {"size": 8, "wait": "60s"}},
        "hasty": {"queue": {"size": 8, "wait": "300ms"}},
        "lone": {"queue": {"size": 0}},
    }
    for name, room in rooms.items():
        config["upstreams"][name] = {
            "url": mock_server.url, "timeouts": brief, **room}
        config["models"][name] = {
            "commit_after": "60s",
            "routes": [{"to": name, "model": "mock-model"}]}
    config["upstreams"]["two"] = {"url": two_server.url, "timeouts": brief}
    config["upstreams"]["cloud"] = {
        "url": two_server.url, "timeouts": brief, "paid": True}
    config["prices"] = {"cloud": {"cloud-model": PRICE}}
    for name, first, when, to in (
            ("spill-full", {"to": "one"}, ["full"], "two"),
            ("spill-queue", {"to": "tiny"}, ["503"], "two"),
            ("spill-wait", {"to": "impatient"}, ["503"], "two"),
            ("spill-slow", {"to": "one", "overflow_after": "100ms"},
             ["slow"], "two"),
            ("spill-not-slow", {"to": "one"}, ["slow"], "two"),
            ("spill-money", {"to": "none"}, ["503"], "cloud"),
            ("spill-capped", {"to": "one"}, ["full"], "cloud"),
            ("spill-connect", {"to": "none"}, ["connect"], "two")):
        config["models"][name] = {"commit_after": "60s", "routes": [
            {"model": "mock-model", **first},
            {"to": to, "model": f"{to}-model", "when": when}]}
    config["models"]["late-batch"] = {
        "class": "batch", "routes": config["models"]["one"]["routes"]}
    config["models"]["committed"] = {
        "commit_after": "50ms", "routes": config["models"]["three"]["routes"]}
    for name, limits in {
            "carol": {}, "single": {"concurrent": 1},
            "rich": {"paid_routes": True}}.items():
        config["users"][name] = {"models": ["*"], "limits": limits}
    config["users"]["capped"] = {
        "models": ["*"], "limits": {"paid_routes": True},
        "cloud_fallback": {"usd": 0, "per": "day"}}
    return config


@pytest.fixture(scope="module")
def config(mock_server, two_server):
    return with_queues(mock_server, two_server)


@pytest.fixture
def crowd(gateway):
    with Crowd(gateway) as crowd:
        yield crowd


def block(crowd, mock, model, user="carol", directives=HOLD, count=1):
    """Takes all places of the model's upstream.  close() gives one back."""
    before = mock.stats()["in_flight"]
    conns = [crowd.send(user, f"block-{i}", directives, model=model)
             for i in range(count)]
    mock.wait_stats(in_flight=before + count)
    return conns[0] if count == 1 else conns


def stay_unanswered(crowd, mock, conns, served):
    """Nothing has become of these, though everything sent was worked on: a
    request on another way has gone through since."""
    crowd.gateway.assert_serves()
    assert not any(c.reader.raw or c.reader.replies for c in conns)
    assert mock.stats()["served"] == served + 1


# --- fair --------------------------------------------------------------------

SERVICE_MS = 80


def test_a_noisy_neighbour_does_not_starve_a_quiet_one(gateway, mock):
    """50 requests at once, all the time, against one after the other."""
    load = Load(gateway.port, gateway.keys["alice"], "noisy", 50,
                lambda _: (f"tokens=1,ttft={SERVICE_MS}", {"model": "four"}))
    try:
        mock.wait_stats(in_flight=4)
        wait_until(lambda: mock.stats()["served"] > 12)
        for n in range(21):
            reply = gateway.chat(
                f"tokens=1,ttft={SERVICE_MS}", gateway.keys["bob"],
                model="four", fields=[f"X-Request-Id: quiet-{n}"])
            assert reply.status == 200, reply
        assert mock.stats()["max_in_flight"] == 4
    finally:
        load.stop()
    lines = gateway.lines()
    quiet = [x["queue_ms"] for x in lines if x["user"] == "bob"]
    noisy = [x["queue_ms"] for x in lines
             if x["user"] == "alice" and x["end"] == "ok"]
    assert len(quiet) == 21
    assert statistics.median(quiet) <= 1.5 * SERVICE_MS
    assert statistics.median(noisy) >= 5 * SERVICE_MS
    assert len(by_tag(lines)) == len(lines), "one line each"


def test_what_waits_goes_in_the_order_of_arrival_on_any_worker(
        gateway, mock, crowd):
    blocker = block(crowd, mock, "one")
    wanted = [f"t-{n}" for n in range(24)]
    for tag in wanted:
        crowd.send("alice", tag, model="one")
    stay_unanswered(crowd, mock, crowd.conns[1:], 1)
    blocker.close()
    assert all(r.status == 200 for r in crowd.wait_all())
    assert [t for t in tags(mock) if t.startswith("t-")] == wanted
    lines = by_tag(gateway.lines())
    assert lines["t-0"]["queue_ms"] > 0 and lines["block-0"]["queue_ms"] == 0
    assert mock.stats()["max_in_flight"] <= 2, "the probe beside them"


def test_users_take_turns_whoever_came_first(mock, crowd):
    blocker = block(crowd, mock, "one")
    for n in range(8):
        crowd.send("alice", f"a-{n}", model="one")
    for n in range(4):
        crowd.send("bob", f"b-{n}", model="one")
    blocker.close()
    crowd.wait_all()
    order = [t[0] for t in tags(mock) if t[:2] in ("a-", "b-")]
    assert len(order) == 12
    for n in range(1, 5):
        assert order[:2 * n + 1].count("b") >= n, order


def test_a_weight_is_a_share(start, mock_server, two_server, mock):
    config = with_queues(mock_server, two_server)
    config["users"]["bob"]["weight"] = 3
    gateway = start(config)
    with Crowd(gateway) as crowd:
        blocker = block(crowd, mock, "one")
        for n in range(12):
            crowd.send("alice", f"a-{n}", model="one")
            crowd.send("bob", f"b-{n}", model="one")
        blocker.close()
        crowd.wait_all()
    order = [t[0] for t in tags(mock) if t[:2] in ("a-", "b-")]
    assert 7 <= order[:12].count("b") <= 11, order


def test_a_users_keys_take_turns_too(gateway, mock, crowd):
    first, second = gateway.keys["alice"], gateway.issue("alice")
    blocker = block(crowd, mock, "one")
    try:
        for n in range(6):
            crowd.send("alice", f"a-{n}", model="one")
        gateway.keys["alice"] = second
        for n in range(2):
            crowd.send("alice", f"b-{n}", model="one")
    finally:
        gateway.keys["alice"] = first
    blocker.close()
    crowd.wait_all()
    order = [t[0] for t in tags(mock) if t[:2] in ("a-", "b-")]
    assert order[:5].count("b") == 2, order


# --- waiting in the place of 429 and 503 -------------------------------------

@pytest.mark.parametrize("dialect", [CHAT, ANTHROPIC], ids=lambda d: d.name)
@pytest.mark.parametrize("stream", [False, True])
def test_one_more_than_concurrent_waits_for_its_turn(
        gateway, mock, crowd, dialect, stream):
    first = block(crowd, mock, "wide", "single")
    with gateway.connect(["POST"]) as second:
        second.send(dialect.request(gateway.keys["single"], "tokens=1",
                                    model="wide", stream=stream))
        wait_until(second.is_taken)
        stay_unanswered(crowd, mock, [second], 1)
        assert gateway.chat(key=gateway.keys["bob"],
                            model="wide").status == 200
        first.close()
        assert second.reply().status == 200
    line = [x for x in gateway.lines() if x["end"] == "ok"
            and x["user"] == "single"]
    assert len(line) == 1 and line[0]["queue_ms"] > 0


@pytest.mark.parametrize("dialect", [CHAT, ANTHROPIC], ids=lambda d: d.name)
def test_when_the_wait_is_over_it_is_429_for_the_users_own_doing(
        gateway, mock, crowd, dialect):
    block(crowd, mock, "hasty", "single")
    reply = gateway.send(dialect.request(gateway.keys["single"],
                                         model="hasty"))
    assert_says(dialect, reply, 429, LIMITED)
    assert is_integer(reply.header("retry-after"), 1, 60)
    assert is_integer(reply.header("retry-after-ms"), 1, 60000)
    assert "1 request" in sentence_of(reply)
    line = [x for x in gateway.lines() if x["status"] == 429]
    assert len(line) == 1 and line[0]["queue_ms"] >= 290
    assert line[0]["end"] == "concurrent" and line[0]["attempts"] == []


@pytest.mark.parametrize("dialect", [CHAT, ANTHROPIC], ids=lambda d: d.name)
@pytest.mark.parametrize("model", ["impatient", "none"])
def test_a_full_server_is_503_when_the_wait_is_over_or_there_is_none(
        gateway, mock, crowd, dialect, model):
    block(crowd, mock, model)
    reply = gateway.send(dialect.request(gateway.keys["bob"], model=model))
    assert_says(dialect, reply, 503, BUSY)
    assert is_integer(reply.header("retry-after"), 1, 60)
    assert mock.stats()["served"] == 1
    line = [x for x in gateway.lines() if x["user"] == "bob"]
    assert len(line) == 1 and line[0]["end"] == "full"
    assert (line[0]["queue_ms"] >= 290) == (model == "impatient")


def test_without_a_queue_one_more_than_concurrent_is_429_at_once(
        gateway, mock, crowd):
    block(crowd, mock, "lone", "single")
    reply = gateway.chat(key=gateway.keys["single"], model="lone")
    assert_says(CHAT, reply, 429, LIMITED)


def test_a_full_queue_is_503(gateway, mock, crowd):
    block(crowd, mock, "tiny")
    waiting = crowd.send("alice", "waits", model="tiny")
    reply = gateway.chat(key=gateway.keys["bob"], model="tiny")
    assert_says(CHAT, reply, 503, BUSY)
    assert is_integer(reply.header("retry-after"), 1, 60)
    assert not waiting.reader.replies


def test_one_user_has_no_more_places_than_per_user(gateway, mock, crowd):
    blocker = block(crowd, mock, "share")
    mine = [crowd.send("alice", f"a-{n}", model="share") for n in range(2)]
    reply = gateway.chat(key=gateway.keys["alice"], model="share")
    assert reply.status in (429, 503), reply
    assert is_integer(reply.header("retry-after"), 1, 60)
    mine.append(crowd.send("bob", "b", model="share"))
    blocker.close()
    crowd.wait(lambda: all(c.reader.replies for c in mine))
    assert [c.reader.replies[0].status for c in mine] == [200] * 3


def test_a_newcomer_takes_the_newest_place_of_the_largest_holder(
        gateway, mock, crowd):
    blocker = block(crowd, mock, "three")
    mine = [crowd.send("alice", f"a-{n}", model="three") for n in range(3)]
    other = crowd.send("bob", "b", model="three")
    crowd.wait(lambda: mine[2].reader.replies)
    reply = mine[2].reader.replies[0]
    assert_says(CHAT, reply, 429, LIMITED)
    assert is_integer(reply.header("retry-after"), 1, 60)
    stay_unanswered(crowd, mock, [*mine[:2], other], 1)
    blocker.close()
    crowd.wait(lambda: all(c.reader.replies for c in (*mine, other)))
    assert other.reader.replies[0].status == 200
    assert set(tags(mock)) >= {"a-0", "a-1", "b"} and "a-2" not in tags(mock)
    assert by_tag(gateway.lines())["a-2"]["status"] == 429


def test_who_is_committed_keeps_the_place(gateway, mock, crowd):
    blocker = block(crowd, mock, "three")
    mine = [crowd.send("alice", f"a-{n}", model="committed", stream=True)
            for n in range(3)]
    crowd.wait(lambda: all(c.reader.now is not None for c in mine))
    reply = gateway.chat(key=gateway.keys["bob"], model="three")
    assert_says(CHAT, reply, 503, BUSY)
    blocker.close()
    assert [r.status for r in crowd.wait_all()] == [200] * 3


def test_who_leaves_the_queue_frees_the_place_at_once(gateway, mock, crowd):
    for how in ("close", "reset") * 2:
        blocker = block(crowd, mock, "tiny")
        leaver = crowd.send("alice", model="tiny")
        assert gateway.chat(key=gateway.keys["bob"],
                            model="tiny").status == 503
        getattr(leaver, how)()
        begun = time.monotonic()
        nexts = []

        def is_in():
            nexts.append(crowd.send("bob", model="tiny"))
            gateway.assert_serves()
            nexts[-1].sock.setblocking(False)
            nexts[-1].pull()
            return not nexts[-1].reader.replies
        wait_until(is_in)
        assert time.monotonic() - begun < 1
        blocker.close()
        assert nexts[-1].reply().status == 200
        mock.wait_stats(in_flight=0)
    gone = [x for x in gateway.lines() if x["user"] == "alice"]
    assert len(gone) == 4
    for line in gone:
        assert line["end"] == "client_gone" and line["attempts"] == []
        assert line["usage_source"] == "none"


# --- tokens of the cache -----------------------------------------------------

def sized(tokens):
    return "x" * (tokens * 4)


def test_a_large_request_is_passed_over_and_then_waited_for(
        gateway, mock, crowd):
    """1,000 tokens fit; 600 are there."""
    first = crowd.send("carol", "first", HOLD, text=sized(600),
                       model="cache", max_tokens=8)
    mock.wait_stats(in_flight=1)
    begun = time.monotonic()
    large = crowd.send("alice", "large", text=sized(600), model="cache",
                       max_tokens=8)
    small = crowd.send("bob", "small", text=sized(100), model="cache",
                       max_tokens=8)
    assert small.reply().status == 200
    assert time.monotonic() - begun < 2 and not large.reader.replies
    # For two seconds at most: then nobody goes before it.
    conns = []

    def waits():
        conns.append(crowd.send("bob", f"w-{len(conns)}", text=sized(50),
                                model="cache", max_tokens=8))
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline and not conns[-1].reader.replies:
            conns[-1].turn(deadline)
        return not conns[-1].reader.replies
    wait_until(waits)
    assert 1.5 < time.monotonic() - begun < 6
    first.close()
    crowd.wait(lambda: large.reader.replies and conns[-1].reader.replies)
    assert large.reader.replies[0].status == 200
    # The two go at once, perhaps on two workers.
    assert set(tags(mock)[-2:]) == {"large", conns[-1].tag}


def test_a_request_larger_than_the_whole_cache_is_told_so(gateway, mock):
    reply = gateway.chat("tokens=1", model="whole", max_tokens=8, messages=[
        {"role": "user", "content": sized(1200)}])
    assert reply.status in (400, 413), reply
    assert "1,000" in sentence_of(reply) and "tokens" in sentence_of(reply)
    assert reply.header("x-should-retry") == "false"
    mock.assert_untouched()


# --- classes -----------------------------------------------------------------

def dispatched(mock, crowd, blocker, prefixes):
    blocker.close()
    crowd.wait_all()
    return "".join(t[0] for t in tags(mock) if t[:2] in prefixes)


def test_interactive_requests_go_before_batch_ones(mock, crowd):
    blocker = block(crowd, mock, "one")
    for n in range(4):
        crowd.send("alice", f"b-{n}", model="late-batch")
    for n in range(4):
        crowd.send("alice", f"h-{n}", model="one",
                   fields=["x-weir-class: batch"])
    for n in range(6):
        crowd.send("bob", f"i-{n}", model="one")
    order = dispatched(mock, crowd, blocker, ("b-", "h-", "i-"))
    assert order.rindex("i") <= 7, order


def test_the_header_may_only_lower_the_class(mock, crowd):
    blocker = block(crowd, mock, "one")
    for n in range(4):
        crowd.send("alice", f"b-{n}", model="late-batch",
                   fields=["x-weir-class: interactive"])
    for n in range(4):
        crowd.send("bob", f"i-{n}", model="one",
                   fields=["x-weir-class: interactive"])
    order = dispatched(mock, crowd, blocker, ("b-", "i-"))
    assert order.rindex("i") <= 5, order


def test_a_tenth_is_kept_for_batch(mock, crowd):
    blocker = block(crowd, mock, "one")
    crowd.send("alice", "b-0", model="late-batch")
    for n in range(30):
        crowd.send("bob", f"i-{n}", model="one")
    order = dispatched(mock, crowd, blocker, ("b-", "i-"))
    assert order.index("b") <= 15, order


# --- elsewhere ---------------------------------------------------------------

def upstream_of(reply):
    assert reply.status == 200, reply
    return reply.header("x-weir-upstream")


def test_full_goes_elsewhere_at_once(gateway, mock, two, crowd):
    assert upstream_of(gateway.chat("tokens=1", model="spill-full")) == "one"
    block(crowd, mock, "one")
    assert upstream_of(gateway.chat("tokens=1", model="spill-full")) == "two"
    assert two.stats()["served"] == 1


def test_ones_own_count_sends_nobody_elsewhere(gateway, mock, two, crowd):
    """It would be full there, too: so one waits."""
    first = block(crowd, mock, "wide", "single")
    second = crowd.send("single", model="spill-full")
    stay_unanswered(crowd, mock, [second], 1)
    first.close()
    assert second.reply().status == 200
    two.assert_untouched()


def test_a_full_queue_counts_as_503(gateway, mock, two, crowd):
    block(crowd, mock, "tiny")
    crowd.send("bob", model="tiny")
    reply = gateway.chat("tokens=1", model="spill-queue")
    assert upstream_of(reply) == "two"
    line = [x for x in gateway.lines() if x["user"] == "alice"]
    assert len(line) == 1 and line[0]["end"] == "ok"


def test_a_wait_that_is_over_counts_as_503(gateway, mock, two, crowd):
    block(crowd, mock, "impatient")
    begun = time.monotonic()
    assert upstream_of(gateway.chat("tokens=1", model="spill-wait")) == "two"
    assert time.monotonic() - begun >= 0.29
    line = [x for x in gateway.lines() if x["user"] == "alice"]
    assert line[0]["queue_ms"] >= 290


def test_a_failure_that_the_next_route_is_not_there_for_ends_it(
        gateway, mock, two, crowd):
    block(crowd, mock, "none")
    reply = gateway.chat("tokens=1", model="spill-connect")
    assert_says(CHAT, reply, 503, BUSY)
    two.assert_untouched()


def test_a_long_expected_wait_goes_elsewhere_if_wished(
        gateway, mock, two, crowd):
    for _ in range(6):  # so that it is known how long one takes
        gateway.chat("tokens=1,ttft=250", model="one")
    block(crowd, mock, "one")
    waits = [crowd.send("bob", model="one") for _ in range(3)]
    assert upstream_of(gateway.chat("tokens=1", model="spill-slow")) == "two"
    stays = crowd.send("alice", model="spill-not-slow")
    stay_unanswered(crowd, mock, [*waits, stays], 7)
    assert two.stats()["served"] == 1


def test_who_may_spend_nothing_on_failover_waits(gateway, mock, two, crowd):
    blocker = block(crowd, mock, "one")
    waits = crowd.send("capped", model="spill-capped")
    stay_unanswered(crowd, mock, [waits], 1)
    blocker.close()
    assert upstream_of(waits.reply()) == "one"
    two.assert_untouched()


def test_a_route_that_costs_money_is_not_taken_unpaid(
        gateway, mock, two, crowd):
    block(crowd, mock, "none")
    for dialect in (CHAT, ANTHROPIC):
        reply = gateway.send(dialect.request(
            gateway.keys["bob"], model="spill-money"))
        assert_says(dialect, reply, 503, BUSY)
        assert is_integer(reply.header("retry-after"), 1, 60)
        assert "cloud" in sentence_of(reply)
        assert "paid_routes" in sentence_of(reply)
    two.assert_untouched()
    reply = gateway.chat("tokens=1", gateway.keys["rich"],
                         model="spill-money")
    assert upstream_of(reply) == "cloud"


# --- who works on ------------------------------------------------------------

def test_a_server_that_works_on_keeps_the_place_but_not_the_users(
        gateway, mock, crowd):
    work = "kind=mlx_lm,rate=20,tokens=12"
    for _ in range(4):
        assert gateway.chat(work, model="mlx").status == 200
    leaver = crowd.send("single", "left", work, model="mlx")
    mock.wait_stats(in_flight=1)
    leaver.close()
    begun = time.monotonic()
    reply = gateway.chat(key=gateway.keys["single"], model="wide")
    assert reply.status == 200 and time.monotonic() - begun < 0.4
    reply = gateway.chat("kind=mlx_lm,tokens=1", gateway.keys["bob"],
                         model="mlx")
    assert reply.status == 200
    lines = gateway.lines()
    waited = [x for x in lines if x["user"] == "bob"]
    assert waited[0]["queue_ms"] >= 200, "about as long as it takes"
    assert by_tag(lines)["left"]["end"] == "client_gone"


def test_a_stream_of_the_same_server_frees_its_place_at_once(
        gateway, mock, crowd):
    leaver = crowd.send("single", "left", "kind=mlx_lm,tokens=9,ttft=60s",
                        model="mlx", stream=True)
    mock.wait_stats(in_flight=1)
    leaver.close()
    begun = time.monotonic()
    reply = gateway.chat("kind=mlx_lm,tokens=1", gateway.keys["bob"],
                         model="mlx")
    assert reply.status == 200 and time.monotonic() - begun < 1


# --- over a reload -----------------------------------------------------------

@pytest.fixture
def own(start, mock_server, two_server, mock):
    gateway = start(with_queues(mock_server, two_server))
    mock.reset()
    yield gateway
    gateway.stop()
    log = gateway.log().lower()
    assert "leak" not in log and "still held" not in log, log[-2000:]


def test_the_queue_survives_a_reload(own, mock):
    with Crowd(own) as crowd:
        blocker = block(crowd, mock, "one")
        for n in range(6):
            crowd.send("alice", f"t-{n}", model="one")
        own.reload()
        crowd.send("alice", "t-6", model="one")
        stay_unanswered(crowd, mock, crowd.conns[1:], 1)
        blocker.close()
        assert all(r.status == 200 for r in crowd.wait_all())
    assert [t for t in tags(mock) if t.startswith("t-")] == \
        [f"t-{n}" for n in range(7)]


def test_who_is_taken_out_of_the_file_waits_no_longer(own, mock):
    config = own.config
    with Crowd(own) as crowd:
        block(crowd, mock, "one")
        waits = crowd.send("carol", model="one")
        stay_unanswered(crowd, mock, [waits], 1)
        own.write({**config, "users": {
            k: v for k, v in config["users"].items() if k != "carol"}})
        own.reload()
        reply = waits.reply()
        assert reply.status == 401, reply
        own.write(config)
        own.reload()


def test_new_limits_act_on_those_that_wait(own, mock):
    config = own.config
    with Crowd(own) as crowd:
        blocker = block(crowd, mock, "one")
        own_blocker = block(crowd, mock, "wide", "single")
        for model, user in (("one", "alice"), ("wide", "single")):
            crowd.send(user, f"raised-{user}", HOLD, model=model)
        config["upstreams"]["one"]["max_inflight"] = 2
        config["users"]["single"]["limits"]["concurrent"] = 2
        own.write(config)
        own.reload()
        begun = time.monotonic()
        mock.wait_stats(in_flight=4)
        assert time.monotonic() - begun < 1
        config["upstreams"]["one"]["max_inflight"] = 1
        config["users"]["single"]["limits"]["concurrent"] = 1
        own.write(config)
        own.reload()
        late = [crowd.send("bob", model="one"),
                crowd.send("single", model="wide")]
        blocker.close()
        own_blocker.close()
        mock.wait_stats(in_flight=2)
        own.assert_serves()
        assert not any(c.reader.raw for c in late), "one is there still"
        for conn in crowd.conns:
            if conn.tag.startswith("raised"):
                conn.close()
        crowd.wait(lambda: all(c.reader.replies for c in late))
        assert [c.reader.replies[0].status for c in late] == [200, 200]


def test_a_queue_that_was_taken_away_refuses_from_then_on(own, mock):
    config = own.config
    with Crowd(own) as crowd:
        blocker = block(crowd, mock, "one")
        waits = crowd.send("alice", model="one")
        config["upstreams"]["one"]["queue"] = {"size": 0}
        own.write(config)
        own.reload()
        wait_until(lambda: own.chat(key=own.keys["bob"],
                                    model="one").status == 503)
        blocker.close()
        crowd.wait(lambda: waits.reader.replies)
        assert waits.reader.replies[0].status in (200, 503)


def test_nothing_is_left_of_a_mixed_load(own, mock):
    """Every kind of end there is, many times; then all places are free."""
    with Crowd(own) as crowd:
        for n in range(60):
            user = ("alice", "bob", "single")[n % 3]
            model = ("one", "three", "impatient", "cache")[n % 4]
            mode = ("tokens=1,ttft=5", "fault=close_before_head",
                    "status=503", "tokens=3,interval=10")[n // 4 % 4]
            crowd.add(user, f"n-{n}", mode, model=model, stream=n % 2 == 0)
            if n % 5 == 4:
                crowd.conns[-1].close()
        open_ones = [c for c in crowd.conns if c.sock.fileno() >= 0]
        crowd.wait(lambda: all(c.reader.replies or c.end for c in open_ones))
    lines = own.wait_ledger(lambda found: len(
        {t for t in by_tag(found) if t and t.startswith("n-")}) >= 48)
    tagged = [x["client_request_id"] for x in lines
              if (x["client_request_id"] or "").startswith("n-")]
    assert len(tagged) == len(set(tagged)), "one line each"
    mock.wait_stats(in_flight=0)
    mock.set("ttft=150,tokens=1")
    for model, count in ("one", 1), ("three", 1), ("impatient", 1):
        reply = own.chat(key=own.keys["single"], model=model)
        assert reply.status == 200, (model, count, reply)
    assert [x["queue_ms"] for x in own.lines()[-3:]] == [0, 0, 0]


def test_a_stop_lets_those_who_wait_end_within_the_drain(own, mock):
    with Crowd(own) as crowd:
        block(crowd, mock, "one", directives="tokens=1,pause=0")
        waits = crowd.send("alice", "late", model="one")
        own.send_signal(15)
        mock.control("go", b"")
        crowd.wait(lambda: waits.reader.replies)
        assert waits.reader.replies[0].status in (200, 503)
    own.stop()
