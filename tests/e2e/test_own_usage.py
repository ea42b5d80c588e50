"""A user's own numbers: GET /v1/key and GET /v1/usage say what the ledger's
lines come to, and nothing of anybody else."""

import calendar
import json
import time
from decimal import Decimal

import pytest

from dialects import ANTHROPIC, CHAT
from harness import assert_error, basic_config, wait_until
from test_keys import id_of

NO_LIMITS = {
    "requests_per_minute": None, "input_tokens_per_minute": None,
    "output_tokens_per_minute": None, "tokens_per_day": None,
    "concurrent": None, "in_flight": 0, "paid_routes": False,
    "override_until": None, "models": {}}
KEY_PATHS = ["/v1/key", "/api/v1/key", "/api/v1/auth/key"]
HOUR, DAY = 3600, 86400


@pytest.fixture(scope="module")
def config(mock_server):
    config = basic_config(mock_server)
    config["upstreams"]["cloud"] = {"url": mock_server.url,
                                    "timeouts": {"idle": "50ms"}}
    config["prices"] = {"cloud": {"big": [
        {"input": "1.740001", "input_cached": "0.145", "output": "3.48",
         "request": "0.000000000001"}]}}
    config["models"] |= {
        "big": {"aliases": ["large"],
                "routes": [{"to": "cloud", "model": "big"}]},
        "bob's own": {"routes": [{"to": "mock", "model": "x"}]}}
    config["users"] |= {
        "alice": {"models": ["m", "big"], "limits": {
            "requests_per_minute": 600, "concurrent": 4,
            "paid_routes": True}},
        "skills": {"key": "none", "from": ["127.0.0.1/32"],
                   "models": ["m"]}}
    return config


class People:
    """A gateway, and requests of several users that it has counted."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.first = gateway.keys["alice"]
        self.second = gateway.issue("alice", "--expires", "90d", "--models",
                                    "big")
        for i, (key, model) in enumerate([
                (self.first, "m"), (self.first, "big"), (self.first, "large"),
                (self.second, "big"), (gateway.keys["bob"], "bob's own"),
                (gateway.keys["bob"], "m"), (None, "m")]):
            gateway.send(CHAT.request(
                key, f"prompt={1000 + i},cached={100 * i},tokens={i + 3},"
                f"reasoning={i}", model=model, stream=i % 2 == 0))
        gateway.send(ANTHROPIC.request(self.first, "tokens=7", model="m"))
        # One that failed counts as a request, one that was refused does not.
        gateway.send(CHAT.request(self.first, "status=500", model="m"))
        gateway.send(CHAT.request(self.first, model="unknown"))
        gateway.flush_ledger()

    def lines(self, **names):
        """Lines for which an upstream was tried, of these names."""
        return [x for x in self.gateway.ledger() if x["attempts"] and
                all(x[k] == v for k, v in names.items())]

    def key(self, key, path="/v1/key"):
        reply = self.gateway.get(path, key)
        assert reply.status == 200, reply
        return json.loads(reply.body, parse_float=Decimal)["data"]

    def page(self, key, query=""):
        reply = self.gateway.get(f"/v1/usage?{query}", key)
        assert reply.status == 200, reply
        page = reply.json()
        assert page["object"] == "page" and page["is_complete"]
        assert all(b["object"] == "bucket" for b in page["data"])
        return page

    def wait_counted(self, key, user):
        """Until all that the ledger has is in memory too."""
        cost, tokens = money(self.lines(user=user)), all_tokens(
            self.lines(user=user))

        def is_so():
            data = self.key(key)
            return (Decimal(data["usage"]), data["tokens"]["month"]) == \
                (cost, tokens) and data["is_complete"]
        wait_until(is_so, what=f"{user}'s lines are counted")


def money(lines):
    return sum((Decimal(x["cost_usd"]) for x in lines), Decimal(0))


def all_tokens(lines):
    return sum(x["prompt_tokens"] + x["completion_tokens"] for x in lines)


@pytest.fixture
def people(start, config, mock):
    people = People(start(config))
    people.wait_counted(people.first, "alice")
    people.wait_counted(people.gateway.keys["bob"], "bob")
    people.wait_counted(None, "skills")
    return people


def test_the_key_endpoint_says_what_the_ledger_says(people):
    lines = people.lines(user="alice")
    assert len(lines) == 6 and {x["key"] for x in lines} == {
        id_of(people.first), id_of(people.second)}
    data = people.key(people.first)
    cost = money(lines)
    assert cost > 0 and cost.as_tuple().exponent == -12
    for name in "usage", "usage_daily", "usage_weekly", "usage_monthly":
        assert data[name] == cost, name
        assert data["byok_" + name] == 0
    assert data["tokens"] == {"today": all_tokens(lines),
                              "month": all_tokens(lines)}
    tokens = data["limits"]["tokens_today"]
    assert tokens | {"resets_at": ""} == {
        "limit": None, "used": all_tokens(lines), "held": 0,
        "remaining": None, "resets_at": ""}
    assert data | {"tokens": 0} == data | {
        "label": f"alice ({id_of(people.first)})", "user": "alice",
        "limit": None, "limit_reset": None, "limit_remaining": None,
        "include_byok_in_limit": False, "is_free_tier": False,
        "is_provisioning_key": False, "expires_at": None,
        "rate_limit": {"requests": 600, "interval": "1m"},
        "limits": {**NO_LIMITS, "requests_per_minute": 600, "concurrent": 4,
                   "paid_routes": True, "tokens_today": tokens},
        "budgets": [],
        "models": ["m", "big"], "tokens": 0}
    for path in KEY_PATHS:
        assert people.key(people.first, path) == data
        assert people.key(people.first, path + "?anything=%zz") == data


def test_each_key_has_its_own_label_and_the_users_numbers(people):
    data = people.key(people.second)
    assert data["label"] == f"alice ({id_of(people.second)})"
    assert data["usage"] == people.key(people.first)["usage"]
    assert data["models"] == ["big"]
    expires = calendar.timegm(
        time.strptime(data["expires_at"], "%Y-%m-%dT%H:%M:%SZ"))
    assert abs(expires - time.time() - 90 * DAY) < HOUR
    data = people.key(None)
    assert data["label"] == data["user"] == "skills"
    assert data["rate_limit"]["requests"] == -1
    assert data["limits"] == {
        **NO_LIMITS, "tokens_today": data["limits"]["tokens_today"]}


def test_the_numbers_outlive_a_restart(people):
    before = people.key(people.first), people.page(people.first)
    people.gateway.stop()
    people.gateway.start()
    people.wait_counted(people.first, "alice")
    assert (people.key(people.first), people.page(people.first)) == before


# --- limits, and what is left of them ----------------------------------------

def with_limits(mock_server):
    """A token of `big` costs a tenth of a cent."""
    config = basic_config(mock_server)
    config["server"]["timezone"] = "Asia/Kathmandu"  # 5 h 45 min before UTC
    config["upstreams"]["cloud"] = {"url": mock_server.url,
                                    "timeouts": {"idle": "50ms"}}
    config["prices"] = {"cloud": {"big": [{"input": "0", "output": "1000"}]}}
    config["models"] |= {
        "big": {"routes": [{"to": "cloud", "model": "big"}]},
        "foreign": config["models"]["m"]}
    config["cloud_fallback"] = {"usd": 9, "per": "day"}
    config["users"] |= {"carol": {
        "models": ["m", "big"], "budget": [
            {"usd": "0.5", "per": "day"}, {"usd": 4, "per": "month"}],
        "cloud_fallback": {"usd": "0.25", "per": "week"},
        "limits": {"requests_per_minute": 90, "tokens_per_day": 5000,
                   "concurrent": 3, "paid_routes": True, "models": {
                       "m": {"tokens_per_day": 700}}}}}
    return config


@pytest.fixture
def limited(start, mock_server, mock):
    gateway = start(with_limits(mock_server))
    mock.reset()
    return gateway


def told(gateway, key=None):
    reply = gateway.get("/v1/key", key or gateway.keys["carol"])
    assert reply.status == 200, reply
    return json.loads(reply.body, parse_float=Decimal)["data"]


def budget(data, **names):
    found = [b for b in data["budgets"]
             if all(b[k] == v for k, v in names.items())]
    assert len(found) == 1, (names, data["budgets"])
    return found[0]


def dollars(b):
    return tuple(Decimal(b[k + "usd"])
                 for k in ("", "used_", "held_", "remaining_"))


def ask(gateway, model, tokens, key=None, directives="", **members):
    return CHAT.request(key or gateway.keys["carol"],
                        f"tokens={tokens}{directives}", model=model,
                        **{"max_tokens": tokens, **members})


def test_budgets_tell_what_is_used_held_and_left(limited, mock):
    assert limited.send(ask(limited, "big", 100)).status == 200
    conn = limited.connect(["POST"])
    conn.send(ask(limited, "big", 50, directives=",pause=0"))
    mock.wait_stats(held=1)
    data = told(limited)
    cents = Decimal("0.1"), Decimal("0.05")
    assert dollars(budget(data, per="day", kind="budget")) == \
        (Decimal("0.5"), *cents, Decimal("0.35"))
    assert dollars(budget(data, per="month")) == \
        (4, *cents, Decimal("3.85"))
    assert dollars(budget(data, kind="cloud_fallback")) == \
        (Decimal("0.25"), 0, 0, Decimal("0.25"))
    assert len(data["budgets"]) == 3, "what all may is nobody's own"
    assert all(b["key"] is b["model"] is None for b in data["budgets"])
    assert (data["limit"], data["limit_reset"], data["limit_remaining"]) == \
        (Decimal("0.5"), "daily", Decimal("0.35"))
    limits = data["limits"]
    assert (limits["concurrent"], limits["in_flight"]) == (3, 1)
    tokens = limits["tokens_today"]
    assert tokens["limit"] == limits["tokens_per_day"] == 5000
    assert tokens["used"] >= 100 and tokens["held"] >= 50
    assert tokens["remaining"] == 5000 - tokens["used"] - tokens["held"]
    mock.control("go", b"")
    assert conn.reply().status == 200
    conn.close()
    data = told(limited)
    assert dollars(budget(data, per="day"))[1:3] == (Decimal("0.15"), 0)
    assert data["limits"]["in_flight"] == 0
    assert data["limits"]["tokens_today"]["held"] == 0


def test_periods_end_by_the_gateways_clock(limited):
    """Midnight in Nepal is at a quarter past six in the evening."""
    data = told(limited)
    day = budget(data, per="day")["resets_at"]
    assert day.endswith("T18:15:00Z")
    assert data["limits"]["tokens_today"]["resets_at"] == day
    ends = seconds_of({"ts": day})
    assert 0 < ends - time.time() <= DAY
    week = seconds_of({"ts": budget(data, per="week")["resets_at"]})
    assert time.gmtime(week + 6 * HOUR).tm_wday == 0, "a Monday, there"
    month = seconds_of({"ts": budget(data, per="month")["resets_at"]})
    assert time.gmtime(month + 6 * HOUR).tm_mday == 1


def test_a_models_own_limits_stand_beside_the_users(limited):
    assert limited.send(ask(limited, "m", 100)).status == 200
    at, = told(limited)["limits"]["models"].items()
    assert at[0] == "m" and at[1]["tokens_per_day"] == 700
    tokens = at[1]["tokens_today"]
    assert tokens["limit"] == 700 and 100 <= tokens["used"] < 200
    assert tokens["remaining"] == 700 - tokens["used"]
    only_big = limited.issue("carol", "--models", "big")
    assert told(limited, only_big)["limits"]["models"] == {}


def test_a_key_is_told_the_tighter_of_its_own_and_the_users(limited):
    tight = limited.issue(
        "carol", "--limit", "tokens_per_day=300", "--limit", "budget=1/week",
        "--limit", "concurrent=9", "--limit", "requests_per_minute=7",
        "--limit", "budget=0.05/month", "--limit", "paid_routes=false")
    data, users = told(limited, tight), told(limited)
    assert data["rate_limit"]["requests"] == 7
    limits = data["limits"]
    assert (limits["requests_per_minute"], limits["tokens_per_day"],
            limits["concurrent"], limits["paid_routes"]) == (7, 300, 3, False)
    assert limits["tokens_today"]["remaining"] == 300
    assert (data["limit"], data["limit_reset"]) == \
        (Decimal("0.05"), "monthly")
    assert dollars(budget(data, key=id_of(tight), per="week"))[0] == 1
    assert budget(data, key=None, per="day") in users["budgets"]
    assert users["rate_limit"]["requests"] == 90
    assert users["limits"]["paid_routes"] and len(users["budgets"]) == 3
    assert limited.send(ask(limited, "m", 10, tight)).status == 200
    used = told(limited, tight)["limits"]["tokens_today"]["used"]
    assert 10 < used < 100


def test_an_override_is_told_with_its_end(limited):
    limited.command("user", "limits", "carol", "--set", "budget=2/day",
                    "--set", "concurrent=unlimited", "--for", "2h")
    data = wait_until(lambda: (d := told(limited))["limits"][
        "override_until"] and d)
    assert data["limit"] == 2 and data["limits"]["concurrent"] is None
    until = seconds_of({"ts": data["limits"]["override_until"]})
    assert abs(until - time.time() - 2 * HOUR) < 60
    limited.command("user", "limits", "carol", "--clear")
    wait_until(lambda: told(limited)["limit"] == Decimal("0.5"))


# --- history -----------------------------------------------------------------

GROUPS = {"model": "model", "api_key_id": "key", "user_id": "user",
          "upstream": "upstream"}


def expected_results(lines, groups):
    found = {}
    for x in lines:
        found.setdefault(tuple(x[GROUPS[g]] for g in groups), []).append(x)
    return sorted(({
        "object": "organization.usage.completions.result",
        "input_tokens": sum(x["prompt_tokens"] for x in of),
        "input_cached_tokens": sum(x["cached_tokens"] for x in of),
        "output_tokens": sum(x["completion_tokens"] for x in of),
        "cache_write_tokens": sum(x["cache_write_tokens"] for x in of),
        "reasoning_tokens": sum(x["reasoning_tokens"] for x in of),
        "num_model_requests": len(of),
        "cost_usd": f"{money(of):.12f}",
        "project_id": None, "batch": None,
        **dict.fromkeys(GROUPS), **dict(zip(groups, names))}
        for names, of in found.items()), key=in_order)


def in_order(result):
    return json.dumps(result, sort_keys=True)


@pytest.mark.parametrize("width", ["1h", "1d"])
@pytest.mark.parametrize("groups", [
    [], ["model"], ["api_key_id"], ["model", "api_key_id"],
    ["user_id", "upstream"]], ids="+".join)
def test_the_history_is_the_ledger_in_buckets(people, width, groups):
    seconds = HOUR if width == "1h" else DAY
    query = f"bucket_width={width}" + "".join(
        f"&group_by[]={g}" for g in groups)
    page = people.page(people.first, query)
    assert len(page["data"]) == (24 if width == "1h" else 7)
    assert not page["has_more"] and page["next_page"] is None
    for bucket in page["data"]:
        begin, end = bucket["start_time"], bucket["end_time"]
        assert begin % seconds == 0 and end == begin + seconds
        lines = [x for x in people.lines(user="alice")
                 if begin <= seconds_of(x) < end]
        assert sorted(bucket["results"], key=in_order) == \
            expected_results(lines, groups)
    assert sum(len(b["results"]) for b in page["data"]) > 0


def seconds_of(line):
    return calendar.timegm(time.strptime(line["ts"], "%Y-%m-%dT%H:%M:%SZ"))


def test_pages_lead_from_one_to_the_next(people):
    start = int(time.time()) - 40 * DAY
    query = f"start_time={start}&group_by=model&limit=9"
    buckets, page = [], {"has_more": True, "next_page": None}
    while page["has_more"]:
        more = f"&page={page['next_page']}" if page["next_page"] else ""
        page = people.page(people.first, query + more)
        assert 0 < len(page["data"]) <= 9
        buckets += page["data"]
    begins = [b["start_time"] for b in buckets]
    assert begins == [start // DAY * DAY + i * DAY for i in range(41)]
    requests = sum(r["num_model_requests"]
                   for b in buckets for r in b["results"])
    assert requests == len(people.lines(user="alice"))


def test_a_model_and_a_key_can_be_picked_out(people):
    def count(query):
        return sum(r["num_model_requests"] for b in
                   people.page(people.first, query)["data"]
                   for r in b["results"])
    assert count("models=big") == 3
    assert count(f"api_key_ids={id_of(people.second)}") == 1
    assert count(f"models[]=m&api_key_ids[]={id_of(people.second)}") == 0
    assert count("models=bob%27s+own") == 0
    assert count(f"end_time={int(time.time()) - 2 * DAY}") == 0


def test_nobody_sees_anything_of_anybody_else(people):
    bobs = people.gateway.keys["bob"]
    names = "group_by=model,api_key_id,user_id,upstream"
    texts = [people.gateway.get(p, bobs).body.decode() for p in [
        "/v1/key", f"/v1/usage?{names}",
        f"/v1/usage?{names}&api_key_ids={id_of(people.first)}",
        f"/v1/usage?{names}&models=big"]]
    for text in texts:
        for foreign in ("alice", "skills", id_of(people.first),
                        id_of(people.second), "cloud", "1003"):
            assert foreign not in text, text
    assert id_of(bobs) in texts[1] and "bob's own" in texts[1]
    for text in texts[2:]:
        assert all(b["results"] == [] for b in json.loads(text)["data"])
    # Alice, in turn, has nothing of Bob's.
    text = people.gateway.get(f"/v1/usage?{names}", people.first).body
    assert b"bob" not in text and id_of(bobs).encode() not in text


@pytest.mark.parametrize("query, sentence", [
    ("start_time=yesterday", "start_time must be a time in whole seconds"),
    ("start_time=2&end_time=1", "end_time must be after start_time"),
    ("bucket_width=1m", "bucket_width must be 1h or 1d"),
    ("group_by=project_id", "group_by takes model"),
    ("limit=32", "limit is at most 31"),
    ("page=x", "page must be the next_page"),
    ("user_ids=alice", "The query may have"),
    ("models=%00", "The query is damaged"),
])
def test_a_query_that_is_wrong_is_told_why(gateway, query, sentence):
    reply = gateway.get(f"/v1/usage?{query}", gateway.keys["alice"])
    assert_error(reply, "400 bad_request", gateway)
    assert reply.json()["error"]["message"].startswith(sentence), reply


def test_only_a_known_user_gets_an_answer(gateway, mock):
    for path in [*KEY_PATHS, "/v1/usage", "/v1/usage?bucket_width=%zz"]:
        reply = gateway.get(path, "sk-weir-nobody")
        assert_error(reply, "401 invalid_api_key", gateway)
        reply = gateway.post({}, gateway.keys["alice"], path)
        assert_error(reply, "405 method_not_allowed", gateway)
    for path in "/v1/key/", "/v1/keys", "/v1/usage/x", "/api/v1/usage":
        reply = gateway.get(path, gateway.keys["alice"])
        assert_error(reply, "404 unknown_url", gateway)
    reply = gateway.get("/key", gateway.keys["alice"])
    assert "base_url must end in /v1" in reply.json()["error"]["message"]
    assert gateway.lines() == []
    mock.assert_untouched()
