"""Tokens and money: taken before a request is served, settled after it, never
overrun, and refused in a sentence with numbers."""

import re
import time

import pytest

from admission import (Crowd, dollars, is_integer, raise_file_limit,
                       sentence_of, text_of_size)
from dialects import ANTHROPIC, CHAT, EMBEDDINGS, assert_says
from harness import basic_config, wait_until
from scripted import closed_port

LIMITED = "rate_limit_exceeded"
SPENT = "insufficient_quota"
HELD = "tokens=1,pause=0"

raise_file_limit()  # the race has a thousand connections


def day(usd):
    return {"usd": str(usd), "per": "day"}


def with_budgets(mock_server, dead_port):
    """`paid` costs a tenth of a cent for each token of an answer, and its
    prompts nothing: max_tokens=100 holds $0.10, tokens=100 costs it."""
    config = basic_config(mock_server)
    brief = {"idle": "50ms"}
    config["upstreams"] |= {
        "cloud": {"url": mock_server.url, "timeouts": brief, "paid": True},
        "dead": {"url": f"http://127.0.0.1:{dead_port}"},
        "dead-cloud": {"url": f"http://127.0.0.1:{dead_port}", "paid": True}}
    price = [{"from": "2026-01-01", "input": "0", "output": "1000"}]
    config["prices"] = {"cloud": {"cloud-model": price, "new-model": price},
                        "dead-cloud": {"cloud-model": price}}
    paid = {"to": "cloud", "model": "cloud-model"}
    config["models"] |= {
        "paid": {"routes": [paid]},
        "fails": {"routes": [{"to": "dead", "model": "x"}, paid]},
        "comes-home": {"routes": [
            {**paid, "to": "dead-cloud"},
            {"to": "mock", "model": "mock-model"}]},
        "either": {"routes": [{"to": "mock", "model": "mock-model"},
                              {**paid, "when": ["503"]}]},
        "new": {"routes": [{**paid, "model": "new-model"}]},
        "m2": config["models"]["m"]}
    users = {
        "racer": ({}, day(1)), "open": ({}, day("0.5")),
        "homely": ({}, day("0.1")),
        "chat": ({}, day("0.5")), "messages": ({}, day("0.5")),
        "looks": ({}, day("0.5")), "counted": ({}, day("0.25")),
        "nothing": ({}, day(0)), "lately": ({}, day("0.3")),
        "teacher": ({}, None), "months": ({}, [
            day(100), {"usd": "0.15", "per": "month"}]),
        "unpaid": ({"paid_routes": False}, None),
        "giver": ({"requests_per_minute": 5}, day("0.05")),
        "slow": ({"input_tokens_per_minute": 1000}, None),
        "told": ({"input_tokens_per_minute": 1000}, None),
        **{name: ({"output_tokens_per_minute": 1000, "reserve_cap": 100},
                  None) for name in ("writer", "talker")},
        "daily": ({"tokens_per_day": 1000}, None),
        "embedder": ({"tokens_per_day": 1000}, None),
        "zero": ({"tokens_per_day": 0}, None), "lifted": ({}, None),
        "by-model": ({"requests_per_minute": 100, "models": {
            "m2": {"requests_per_minute": 2, "tokens_per_day": "1M"}}}, None),
        **{name: ({"requests_per_minute": 3}, None)
           for name in ("few", "getter", "overridden")}}
    for name, (limits, budget) in users.items():
        add_user(config, name, budget, **limits)
    return config


def add_user(config, name, budget=None, **limits):
    config["users"][name] = {
        "models": ["*"], "limits": {"paid_routes": True, **limits}}
    if budget:
        config["users"][name]["budget"] = budget


@pytest.fixture(scope="module")
def dead_port():
    with closed_port() as port:
        yield port


@pytest.fixture(scope="module")
def config(mock_server, dead_port):
    return with_budgets(mock_server, dead_port)


def with_few_users(mock_server, dead_port):
    config = with_budgets(mock_server, dead_port)
    config["users"] = {}
    add_user(config, "spender", day("0.5"))
    add_user(config, "daily", tokens_per_day=1000)
    return config


@pytest.fixture
def own(start, mock_server, dead_port, mock):
    gateway = start(with_few_users(mock_server, dead_port))
    mock.reset()
    return gateway


def said(tokens):
    """A prompt of about so many tokens."""
    return [{"role": "user", "content": text_of_size(tokens, "river")}]


def ask(gateway, user, mock="tokens=1", model="paid", **members):
    return gateway.chat(mock, gateway.keys[user], model=model, **members)


def assert_refused(reply, code, may_retry):
    assert_says(CHAT, reply, 429, code)
    if may_retry:
        assert is_integer(reply.header("retry-after"))
        assert is_integer(reply.header("retry-after-ms"))
        assert reply.header("x-should-retry") is None
    else:
        assert reply.header("x-should-retry") == "false"


# --- money -------------------------------------------------------------------

def test_of_a_thousand_at_once_ten_are_served_until_one_settles(gateway, mock):
    """Each reserves a tenth of the budget; most have come before any ends."""
    with Crowd(gateway) as crowd:
        for _ in range(1000):
            crowd.add("racer", "", HELD, model="paid", max_tokens=100)
        crowd.wait(lambda: len(crowd.answered()) >= 990, 60)
        mock.wait_stats(held=10)
        assert mock.stats()["served"] == 10
        refused = [c.reader.replies[0] for c in crowd.answered()]
        assert len(refused) == 990
        for reply in refused:
            assert_refused(reply, LIMITED, True)
        again = ask(gateway, "racer", max_tokens=100)
        assert_refused(again, LIMITED, True)
        mock.control("go", b"")
        replies = crowd.wait_all()
    assert sorted(r.status for r in replies) == [200] * 10 + [429] * 990
    assert ask(gateway, "racer", max_tokens=100).status == 200, "it is settled"
    lines = gateway.lines()
    assert len(lines) == 1002
    assert sum(x["cost_usd"] == "0.001000000000" for x in lines) == 11


def test_held_money_is_waited_for(gateway, mock):
    """Half a dollar, of which 30 cents are held."""
    with Crowd(gateway) as crowd:
        first = crowd.send("open", "", HELD, model="paid", max_tokens=300)
        mock.wait_stats(held=1)
        reply = ask(gateway, "open", max_tokens=300)
        assert_refused(reply, LIMITED, True)
        amounts = dollars(sentence_of(reply))
        assert 0.5 in amounts and amounts.count(0.3) >= 1, amounts
        assert "open" in sentence_of(reply)
        assert ask(gateway, "open", max_tokens=100).status == 200, "fits"
        first.close()
        mock.wait_stats(in_flight=0)
        wait_until(lambda: ask(gateway, "open",
                               max_tokens=300).status == 200)


@pytest.mark.parametrize("dialect", [CHAT, ANTHROPIC], ids=lambda d: d.name)
def test_what_is_spent_is_not_worth_a_retry(gateway, dialect):
    assert ask(gateway, dialect.name, "tokens=300",
               max_tokens=300).status == 200
    reply = gateway.send(dialect.request(gateway.keys[dialect.name],
                                         model="paid", max_tokens=300))
    assert reply.status == 429 and reply.header("x-should-retry") == "false"
    error = reply.json()["error"]
    if dialect.is_anthropic:
        assert error["type"] == "rate_limit_error"
    else:
        assert (error["type"], error["code"]) == (SPENT, SPENT)
    amounts = dollars(error["message"])
    assert amounts.count(0.3) >= 1 and 0.5 in amounts, error
    assert re.search(r"\b00:00\b.*\bUTC\b", error["message"]), error
    assert re.search(r"\bin \d+ (h|min)\b", error["message"]), error
    assert ask(gateway, dialect.name, max_tokens=100).status == 200, "fits"
    assert ask(gateway, dialect.name, "tokens=1", "m",
               max_tokens=10000).status == 200, "what is free is served"


def test_each_period_counts(gateway):
    assert ask(gateway, "months", "tokens=100", max_tokens=100).status == 200
    reply = ask(gateway, "months", max_tokens=100)
    assert_refused(reply, SPENT, False)
    assert 0.15 in dollars(sentence_of(reply))
    assert "month" in sentence_of(reply)


def test_n_choices_hold_n_times_as_much(gateway, mock):
    reply = ask(gateway, "counted", max_tokens=100, n=3)
    assert_refused(reply, SPENT, False)
    assert 0.3 in dollars(sentence_of(reply))
    assert ask(gateway, "counted", max_tokens=100, n=2).status == 200
    assert mock.stats()["served"] == 1


def test_what_is_free_is_never_refused_for_money(gateway, mock):
    for user in "nothing", "unpaid":
        for model in "m", "either":
            assert ask(gateway, user, "tokens=9", model).status == 200
        mock.reset()
        mock.set("status=503")
        reply = ask(gateway, user, "tokens=9", "either")
        assert reply.status in (429, 503), reply
        assert mock.stats()["served"] == 1, "the paid route was not asked"
        mock.reset()
    assert_refused(ask(gateway, "nothing", max_tokens=1), SPENT, False)
    assert ask(gateway, "unpaid").status == 403


def test_without_max_tokens_4096_are_held_until_more_is_known(gateway):
    """$0.30 are 300 tokens."""
    reply = ask(gateway, "lately", model="new")
    assert_refused(reply, SPENT, False)
    assert any(4.09 <= x <= 4.11 for x in dollars(sentence_of(reply)))
    asked = 0
    while ask(gateway, "lately", model="new").status == 429:
        assert ask(gateway, "teacher", "tokens=20", "new").status == 200
        asked += 1
        assert asked <= 300, "it is never learnt"


def test_what_was_spent_is_known_after_a_restart(own, mock):
    assert ask(own, "spender", "tokens=300", max_tokens=300).status == 200
    assert ask(own, "daily", "tokens=5", "m", max_tokens=5,
               messages=said(900)).status == 200
    for how in ("stop", "kill"):
        own.flush_ledger()
        getattr(own, how)()
        own.start()
        reply = ask(own, "spender", max_tokens=300)
        assert_refused(reply, SPENT, False)
        assert 0.3 in dollars(sentence_of(reply))
        assert_refused(ask(own, "daily", model="m", max_tokens=200), SPENT,
                       False)
    assert ask(own, "spender", max_tokens=100).status == 200
    assert mock.stats()["served"] == 3


def test_what_a_killed_gateway_held_is_free_again(own, mock):
    with Crowd(own) as crowd:
        crowd.send("spender", "", "tokens=1,ttft=60s", model="paid",
                   max_tokens=400)
        mock.wait_stats(in_flight=1)
        assert_refused(ask(own, "spender", max_tokens=300), LIMITED, True)
        own.kill()
    own.start()
    assert ask(own, "spender", max_tokens=300).status == 200


def test_new_budgets_act_at_once_and_used_money_stays_used(own):
    assert ask(own, "spender", "tokens=300", max_tokens=300).status == 200
    config = own.config
    for usd, status in ("0.2", 429), ("0.7", 200), ("unlimited", 200):
        config["users"]["spender"]["budget"] = day(usd)
        own.write(config)
        own.reload()
        reply = ask(own, "spender", max_tokens=300)
        assert reply.status == status, (usd, reply)
    own.stop()


# --- failover that costs -----------------------------------------------------

def test_failover_without_paid_routes_is_refused_with_the_sentence(
        gateway, mock):
    reply = ask(gateway, "unpaid", model="fails")
    assert reply.status == 502, reply
    assert "dead refused the connection; the next route (cloud) costs money " \
        "and unpaid has no paid_routes" in sentence_of(reply)
    mock.assert_untouched()


def test_failover_beyond_the_budget_is_refused_with_the_numbers(
        gateway, mock):
    reply = ask(gateway, "nothing", model="fails", max_tokens=100)
    assert reply.status in (429, 502), reply
    assert "dead refused the connection" in sentence_of(reply)
    assert 0.1 in dollars(sentence_of(reply)), reply
    mock.assert_untouched()


def test_a_paid_route_that_failed_holds_no_money(gateway, mock):
    with Crowd(gateway) as crowd:
        crowd.send("homely", "", HELD, model="comes-home", max_tokens=100)
        mock.wait_stats(in_flight=1)
        assert ask(gateway, "homely", max_tokens=100).status == 200
    mock.wait_stats(in_flight=0)


def with_fallback(mock_server, dead_port):
    config = with_few_users(mock_server, dead_port)
    for name in ("capped", "wide", "wider"):
        add_user(config, name)
    config["users"]["capped"]["cloud_fallback"] = day("0.15")
    config["cloud_fallback"] = day("0.35")
    return config


def test_failover_has_a_budget_of_its_own_per_user_and_in_all(
        start, mock_server, dead_port, mock):
    own = start(with_fallback(mock_server, dead_port))
    mock.reset()

    def fails_over(user):
        return ask(own, user, "tokens=100", "fails", max_tokens=100)

    assert fails_over("capped").status == 200
    reply = fails_over("capped")
    assert reply.status in (429, 502, 503), reply
    assert 0.15 in dollars(sentence_of(reply)), "the user's own cap"
    for _ in range(5):
        assert ask(own, "capped", "tokens=100", max_tokens=100).status == 200,\
            "what is paid by choice is no failover"
    assert [fails_over("wide").status for _ in range(2)] == [200, 200]
    reply = fails_over("wider")
    assert reply.status in (429, 502, 503), reply
    assert 0.35 in dollars(sentence_of(reply)), "all users' cap"
    lines = own.lines()
    fallback = [x["fallback_usd"] for x in lines if x["status"] == 200]
    assert fallback.count("0.100000000000") == 3
    assert fallback.count("0.000000000000") == 5
    own.kill()
    own.start()
    assert fails_over("wider").status in (429, 502, 503), "also restarted"


# --- tokens ------------------------------------------------------------------

def test_a_prompt_above_the_burst_passes_once_and_leaves_a_debt(gateway, mock):
    """1,000 tokens a minute; 3,000 come, and then one more."""
    large = said(3000)
    assert ask(gateway, "slow", model="m", messages=large).status == 200
    for messages in large, [{"role": "user", "content": "hi"}]:
        reply = ask(gateway, "slow", model="m", messages=messages)
        assert_says(CHAT, reply, 429, LIMITED)
        assert is_integer(reply.header("retry-after"))
        assert "1,000" in sentence_of(reply)
    assert int(reply.header("retry-after-ms")) > 60000 or \
        reply.header("retry-after") == "60", "two minutes' worth is owed"
    assert mock.stats()["served"] == 1


def test_an_answers_tokens_are_held_up_to_the_cap(gateway, mock):
    """1,000 a minute, at most 100 for one that may be longer."""
    with Crowd(gateway) as crowd:
        for _ in range(10):
            crowd.send("writer", "", "tokens=10,pause=0", model="m",
                       max_tokens=50000)
        mock.wait_stats(held=10)
        reply = ask(gateway, "writer", model="m", max_tokens=50000)
        assert_says(CHAT, reply, 429, LIMITED)
        mock.control("go", b"")
        assert all(r.status == 200 for r in crowd.wait_all())
    wait_until(lambda: ask(gateway, "writer", model="m",
                           max_tokens=50000).status == 200)


def test_more_than_was_held_is_charged_all_the_same(gateway):
    reply = ask(gateway, "talker", "tokens=3000", "m", max_tokens=3000)
    assert reply.status == 200
    reply = ask(gateway, "talker", model="m", max_tokens=10)
    assert_says(CHAT, reply, 429, LIMITED)


def test_the_days_tokens_count_prompt_and_answer(gateway):
    reply = ask(gateway, "daily", "cached=500,tokens=10", "m", max_tokens=10,
                messages=said(600))
    assert reply.status == 200
    used = reply.json()["usage"]["total_tokens"]
    assert 610 <= used <= 640
    reply = ask(gateway, "daily", model="m", max_tokens=500)
    assert_refused(reply, SPENT, False)
    text = sentence_of(reply)
    assert "daily" in text and str(used) in text and "1,000" in text, text
    assert re.search(r"\b00:00\b.*\bUTC\b", text), text
    assert ask(gateway, "daily", model="m", max_tokens=100).status == 200


def test_embeddings_count_their_prompt_alone(gateway):
    def embed(tokens):
        return gateway.send(EMBEDDINGS.request(
            gateway.keys["embedder"], input=[text_of_size(tokens, "river")]))
    assert embed(700).status == 200
    assert embed(50).status == 200, "nothing is held for an answer"
    assert embed(50).status == 200
    assert embed(300).status == 429


def test_zero_admits_nothing_and_unlimited_lifts(start, mock_server,
                                                 dead_port, mock):
    config = with_few_users(mock_server, dead_port)
    config["limits"] = {"tokens_per_day": 300, "requests_per_minute": 2}
    add_user(config, "alice")
    add_user(config, "zero", tokens_per_day=0)
    add_user(config, "lifted", tokens_per_day="unlimited",
             requests_per_minute="unlimited")
    config["users"]["probe"] = {"models": ["*"], "limits": {
        "tokens_per_day": "unlimited", "requests_per_minute": "unlimited"}}
    own = start(config)
    mock.reset()
    reply = ask(own, "zero", model="m", max_tokens=1)
    assert_refused(reply, SPENT, False)
    mock.assert_untouched()
    for _ in range(5):
        assert ask(own, "lifted", model="m", max_tokens=9000).status == 200
    assert ask(own, "alice", model="m", max_tokens=100).status == 200
    assert ask(own, "alice", model="m", max_tokens=300).status == 429
    own.stop()


def test_a_models_own_limits_count_beside_the_users(gateway):
    statuses = [ask(gateway, "by-model", model="m2", max_tokens=9).status
                for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert ask(gateway, "by-model", model="m", max_tokens=9).status == 200


def test_a_key_can_have_limits_of_its_own(gateway):
    tight = gateway.issue("lifted", "--limit", "tokens_per_day=200")
    assert gateway.chat("tokens=1", tight, max_tokens=100).status == 200
    reply = gateway.chat(key=tight, max_tokens=199)
    assert_refused(reply, SPENT, False)
    assert "200" in sentence_of(reply)
    assert ask(gateway, "lifted", model="m", max_tokens=199).status == 200


def test_the_headers_tell_what_is_left_of_the_tokens(gateway):
    reply = ask(gateway, "told", model="m", max_tokens=1,
                messages=said(100))
    assert reply.header("x-ratelimit-limit-tokens") == "1000"
    left = int(reply.header("x-ratelimit-remaining-tokens"))
    assert 800 <= left < 1000
    assert re.fullmatch(r"(\d+m)?\d+s|\d+ms",
                        reply.header("x-ratelimit-reset-tokens"))
    reply = gateway.send(ANTHROPIC.request(gateway.keys["told"], "tokens=1"))
    assert reply.header("anthropic-ratelimit-input-tokens-limit") == "1000"
    left = int(reply.header("anthropic-ratelimit-input-tokens-remaining"))
    assert 700 <= left < 1000


# --- requests ----------------------------------------------------------------

def test_a_request_that_is_refused_later_costs_no_request(gateway, mock):
    for _ in range(20):
        assert_refused(ask(gateway, "giver", max_tokens=100), SPENT, False)
    reply = ask(gateway, "giver", model="m")
    assert reply.status == 200
    assert reply.header("x-ratelimit-remaining-requests") == "4"
    assert mock.stats()["served"] == 1


def count_tokens(gateway, user):
    return gateway.post(
        {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
        gateway.keys[user], "/v1/messages/count_tokens")


def test_counting_tokens_costs_nothing_and_has_a_rate_of_its_own(gateway):
    for user in "zero", "nothing":
        assert count_tokens(gateway, user).status == 200
    assert [count_tokens(gateway, "few").status for _ in range(4)] == \
        [200, 200, 200, 429]
    assert [ask(gateway, "few", model="m").status for _ in range(4)] == \
        [200, 200, 200, 429]


def test_gets_cost_nothing(gateway):
    key = gateway.keys["getter"]
    for _ in range(10):
        assert gateway.get("/v1/models", key).status == 200
        assert gateway.get("/v1/key", key).status == 200
    reply = ask(gateway, "getter", model="m")
    assert reply.header("x-ratelimit-remaining-requests") == "2"


def test_the_key_page_tells_limits_and_what_is_left(gateway):
    assert ask(gateway, "looks", "tokens=100", max_tokens=100).status == 200

    def told():
        data = gateway.get("/v1/key", gateway.keys["looks"]).json()["data"]
        return data if data["limit_remaining"] is not None and \
            abs(data["limit_remaining"] - 0.4) < 1e-9 else None
    data = wait_until(told, what="the budget's rest")
    assert data["limit"] == 0.5 and data["limit_reset"] == "daily"


# --- commands ----------------------------------------------------------------

def test_an_override_counts_until_it_is_cleared(gateway):
    assert ask(gateway, "overridden", model="m").status == 200
    gateway.command("user", "limits", "overridden", "--set",
                    "tokens_per_day=0", "--for", "2h")
    begun = time.monotonic()
    wait_until(lambda: ask(gateway, "overridden", model="m").status == 429)
    assert time.monotonic() - begun < 5
    shown = gateway.command("user", "limits", "overridden").stdout
    assert re.search(r"tokens_per_day\s+0\b.*override", shown), shown
    gateway.command("user", "limits", "overridden", "--clear")
    gateway.command("user", "limits", "overridden", "--set",
                    "requests_per_minute=unlimited", "--for", "2h")
    wait_until(lambda: ask(gateway, "overridden", model="m").status == 200)
