"""Prices: every cost in the ledger is what the price list makes of its counts,
to the pico-dollar, and a public price map changes the configuration only as
said."""

import datetime
import json
import os
import pathlib
import random
import re
import subprocess
import sys
from fractions import Fraction

import pytest

import recompute
from dialects import ANTHROPIC, CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from harness import ROOT, SANITIZERS, basic_config, bin_dir

DATA = ROOT / "tests" / "data" / "prices"
SEED = 20261121
DAY = datetime.timedelta(days=1)


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def price(input, output, **others):
    return {"input": input, "output": output, **others}


@pytest.fixture(scope="module")
def config(mock_server):
    """Prices by hours around this one, by days around this one, with a price
    of each kind that there is."""
    config = basic_config(mock_server)
    brief = {"idle": "50ms"}
    config["upstreams"] |= {
        name: {"url": mock_server.url, "timeouts": brief}
        for name in ("cloud", "other")}
    hour = now().hour
    today, tomorrow = (str((now() + n * DAY).date()) for n in (0, 1))
    config["prices"] = {
        "cloud": {
            "plain": [price("1.74", "3.48", input_cached="0.145")],
            # Whatever the hour is when the test gets there, one of the first
            # two holds; the second one runs over midnight.
            "hourly": [
                price("0.5", "1", hours=f"{hour}-{(hour + 1) % 24 or 24}"),
                price("0.7", "1.1", hours=f"{(hour + 1) % 24}-{hour or 24}"),
                price("9", "9")],
            "daily": [
                {"from": tomorrow, **price("9", "9")},
                {"from": "2026-01-01", **price("8", "8")},
                {"from": today, **price("0.000001", "12.000007",
                                        cache_write="2.5",
                                        input_cached="0.333333")},
                {"from": "2026-01-02",
                 **price("7", "7", hours=f"{hour}-{(hour + 1) % 24 or 24}")}],
            "first": [{"from": tomorrow, **price("3", "5")}],
        },
        "other": {"each": [price("0.1", "0.2", request="0.005")]},
    }
    config["models"] |= {
        name: {"routes": [{"to": "cloud", "model": name}]}
        for name in ("plain", "hourly", "daily", "first")}
    config["models"]["each"] = {"routes": [{"to": "other", "model": "each"}]}
    config["models"]["falls"] = {"routes": [
        {"to": "cloud", "model": "plain"},
        {"to": "other", "model": "each", "when": ["429", "error_event"]}]}
    config["users"]["alice"]["limits"] = {"paid_routes": True}
    return config


MODELS = ["m", "plain", "hourly", "daily", "first", "each", "falls"]


def ask_anything(gateway, pick):
    dialect = pick.choice([CHAT, COMPLETIONS, RESPONSES, ANTHROPIC,
                           EMBEDDINGS])
    prompt = pick.randrange(1, 200_000)
    directives = f"prompt={prompt},tokens={pick.randrange(1, 17)}"
    if dialect is not EMBEDDINGS:
        directives += f",cached={pick.randrange(prompt + 1)}"
    if dialect in (CHAT, RESPONSES):
        directives += f",reasoning={pick.choice([0, 5])}"
    spoilt = pick.choice(["", "", "", ",status=429,fault=error_usage",
                          ",fault=no_usage", ",status=500"])
    gateway.send(dialect.request(
        gateway.keys["alice"], directives + spoilt,
        model=pick.choice(MODELS), fields=["Connection: close"],
        stream=dialect.can_stream and pick.random() < 0.5))


def ask_with_cache_writes(gateway, mock, model):
    """What Anthropic says of its cache comes beside the other input."""
    mock.replay(json.dumps({
        "id": "msg_1", "type": "message", "role": "assistant",
        "model": "x", "stop_reason": "end_turn", "stop_sequence": None,
        "content": [{"type": "text", "text": "tea"}],
        "usage": {"input_tokens": 17, "cache_creation_input_tokens": 1234,
                  "cache_read_input_tokens": 567, "output_tokens": 3}
    }).encode())
    reply = gateway.send(ANTHROPIC.request(
        gateway.keys["alice"], "replay=body", model=model))
    assert reply.status == 200, reply


def price_list(gateway):
    return json.loads(gateway.command("price", "list", "--json").stdout)


def test_every_cost_is_what_the_price_list_makes_of_it(
        gateway, mock, tmp_path):
    pick = random.Random(SEED)
    for _ in range(300):
        ask_anything(gateway, pick)
    for model in "daily", "hourly", "each":
        ask_with_cache_writes(gateway, mock, model)
    # The first route spends tokens and fails, then the second answers.
    mock.set("fault=error_first_event,fail_times=1,prompt=100,tokens=4")
    reply = gateway.send(CHAT.request(
        gateway.keys["alice"], model="falls", stream=True))
    assert reply.status == 200, reply

    lines = gateway.lines()
    assert len(lines) == 304
    prices = price_list(gateway)["prices"]
    for line in lines:
        assert recompute.check(line, prices) is None, line

    # It was about something: all kinds of counts, prices and ways.
    paid = [x for x in lines if Fraction(x["cost_usd"]) > 0]
    assert {x["model"] for x in paid} == set(MODELS) - {"m"}
    for name in ("cached_tokens", "cache_write_tokens", "reasoning_tokens"):
        assert any(x[name] for x in paid), name
    assert {x["usage_source"] for x in paid} >= {"upstream", "estimated"}
    both = [x for x in paid if len(x["attempts"]) == 2 and
            all(Fraction(a.get("cost_usd", "0")) > 0
                for a in x["attempts"])]
    assert both, "no line has two attempts that cost"
    hourly = [x for x in paid if x["model"] == "hourly"]
    assert hourly and all(Fraction(x["cost_usd"]) * 10**6 < 9 * (
        x["prompt_tokens"] + x["completion_tokens"]) for x in hourly)

    # The program that says so for anyone's ledger finds nothing either...
    listed, ledger = tmp_path / "prices.json", tmp_path / "ledger.jsonl"
    listed.write_text(json.dumps({"prices": prices}))
    ledger.write_text("".join(json.dumps(x) + "\n" for x in lines))
    assert run_recompute(listed, ledger) == (0, "")
    # ...until a pico-dollar is changed.
    paid[0]["cost_usd"] = paid[0]["cost_usd"][:-1] + str(
        (int(paid[0]["cost_usd"][-1]) + 1) % 10)
    ledger.write_text("".join(json.dumps(x) + "\n" for x in lines))
    status, told = run_recompute(listed, ledger)
    assert status == 1 and told.startswith(paid[0]["id"]), told


def run_recompute(listed, ledger):
    done = subprocess.run(
        [sys.executable, recompute.__file__, listed, ledger],
        capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "", done.stderr
    return done.returncode, done.stdout


def test_the_list_says_what_is_in_force_and_who_uses_it(gateway):
    listed = price_list(gateway)
    assert listed["schema"] == 1
    daily = [p for p in listed["prices"] if p["model"] == "daily"]
    assert [p["in_force"] for p in daily] == [False, False, True, False]
    assert daily[2] | {"from": None} == {
        "upstream": "cloud", "model": "daily", "from": None, "hours": None,
        "input": "0.000001", "input_cached": "0.333333",
        "cache_write": "2.50", "output": "12.000007", "request": "0.00",
        "in_force": True, "routes": ["daily"], "compares": []}
    # What begins tomorrow is the price today too: nothing is free.
    first, = (p for p in listed["prices"] if p["model"] == "first")
    assert first["in_force"] and first["from"] == str((now() + DAY).date())
    plain, = (p for p in listed["prices"] if p["model"] == "plain")
    assert plain["routes"] == ["plain", "falls"]
    only = gateway.command("price", "list", "--upstream", "other").stdout
    assert [x.split("\t")[:2] for x in only.splitlines()] == \
        [["UPSTREAM", "MODEL"], ["other", "each"]]
    done = gateway.command("price", "list", "--upstream", "nobody",
                           check=False)
    assert done.returncode == 5 and "nobody" in done.stderr


def test_two_prices_for_the_same_time_are_an_error(tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text(TEXT.replace("    # later\n", (
        "      - {from: 2026-05-01, hours: 8-12, input: 1, output: 1}\n"
        "      - {from: 2026-05-01, hours: 11-13, input: 1, output: 2}\n"
        "      - {from: 2026-05-01, input: 1, output: 2}\n")))
    done = weir("check", path)
    assert done.returncode == 3, done
    assert len(re.findall("from the same day on", done.stderr)) == 2, done
    assert "3 errors" in done.stderr  # and claude-ocean-5 has no price


# --- import ------------------------------------------------------------------

TEXT = """\
# Prices are below; this stays.
version: 1
upstreams:
  spark: {url: http://127.0.0.1:9}   # free
  fireworks: {url: https://api.fireworks.ai/inference/v1, kind: fireworks}
  xai: {url: https://api.x.ai/v1, kind: xai}
  anthropic: {url: https://api.anthropic.com, kind: anthropic}
  lake: {url: https://lake.example/v1, paid: true}
models:
  ds4:
    routes:
      - {to: spark, model: x}
      - {to: fireworks, model: accounts/fireworks/models/deepseek-v4-pro}
  ocean: {routes: [{to: anthropic, model: claude-ocean-5}]}
  lake: {routes: [{to: lake, model: deep}]}
  night: {routes: [{to: xai, model: grok-tide}]}

prices:
  # The provider's page.
  fireworks:
    accounts/fireworks/models/deepseek-v4-pro:
      - {from: 2026-05-01, input: 2, input_cached: 0.145, output: 4}  # dear
    # later
  lake: {deep: [{input: 1, output: 2}]}
  xai:
    grok-tide:
      - {input: 9, output: 9}
      - {hours: 20-6, input: 5, output: 5}

users: {bob: {models: ["*"]}}
"""


def weir(verb, path, *argv):
    done = subprocess.run(
        [bin_dir() / "weir", *verb.split(), "-c", path, *argv],
        env={**os.environ, **SANITIZERS}, capture_output=True, text=True,
        timeout=60, check=False, stdin=subprocess.DEVNULL)
    assert "Sanitizer" not in done.stderr, done.stderr
    return done


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text(TEXT)
    path.chmod(0o640)
    return path


def test_an_import_says_what_would_change_and_changes_nothing(path):
    done = weir("price import", path, DATA / "litellm.json")
    assert done.returncode == 0, done
    today = str(now().date())
    assert done.stdout == (
        "  fireworks: accounts/fireworks/models/deepseek-v4-pro\n"
        "- {from: 2026-05-01, input: 2.00, input_cached: 0.145, "
        "output: 4.00}\n"
        f"+ {{from: {today}, input: 1.74, input_cached: 0.145, "
        "output: 3.48}\n"
        "  anthropic: claude-ocean-5\n"
        f"+ {{from: {today}, input: 3.00, input_cached: 0.30, "
        "cache_write: 3.75, output: 15.00}\n")
    told = done.stderr
    assert "1 changed, 1 new, 0 the same, 1 left alone, 1 not found" in told
    assert "lake: deep: neither the upstream's kind nor its host" in told
    assert "grok-tide: has prices by the hour" in told
    assert "input_cost_per_token_above_200k_tokens" in told
    assert "--write" in told
    assert path.read_text() == TEXT
    assert weir("price import -q", path, DATA / "litellm.json").stderr == ""


def test_a_written_import_adds_lines_and_touches_no_other(path):
    # It could not be loaded before: a price was missing.
    assert weir("check", path).returncode == 3
    before = path.stat()
    done = weir("price import", path, DATA / "litellm.json", "--write")
    assert done.returncode == 0, done
    today = str(now().date())
    new = (f"      - {{from: {today}, input: 1.74, input_cached: 0.145, "
           "output: 3.48}\n")
    assert path.read_text() == TEXT.replace("# dear\n", "# dear\n" + new) \
        .replace("output: 5}\n", "output: 5}\n"
                 "  anthropic:\n"
                 "    claude-ocean-5:\n"
                 f"      - {{from: {today}, input: 3.00, input_cached: 0.30, "
                 "cache_write: 3.75, output: 15.00}\n")
    assert path.stat().st_mode == before.st_mode
    assert weir("check", path).returncode == 0
    listed = json.loads(weir("price list", path, "--json").stdout)["prices"]
    now_in_force = {p["model"]: p["input"] for p in listed if p["in_force"]}
    assert now_in_force["accounts/fireworks/models/deepseek-v4-pro"] == "1.74"
    # Once more there is nothing to do.
    again = path.read_bytes()
    done = weir("price import", path, DATA / "litellm.json", "--write")
    assert done.returncode == 0 and done.stdout == "", done
    assert "nothing to write" in done.stderr
    assert path.read_bytes() == again


def test_the_other_map_is_read_as_well(path):
    done = weir("price import", path, DATA / "models_dev.json", "--write",
                "--upstream", "fireworks")
    # Of the others a price is missing still: nothing was written.
    assert done.returncode == 3 and "claude-ocean-5" in done.stderr, done
    assert path.read_text() == TEXT
    done = weir("price import", path, DATA / "models_dev.json", "--write")
    assert done.returncode == 0, done
    assert "input: 1.50, input_cached: 0.15, output: 3.00" in path.read_text()
    # A second price of the same day would contradict the first.
    done = weir("price import", path, DATA / "litellm.json", "--write")
    assert "has a price from today on already" in done.stderr
    assert "1 the same, 2 left alone" in done.stderr, done


def test_a_link_to_the_configuration_stays_a_link(path, tmp_path):
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    done = weir("price import", link, DATA / "litellm.json", "--write")
    assert done.returncode == 0, done
    assert link.is_symlink() and "1.74" in path.read_text()


def test_what_cannot_be_imported_is_told(path, tmp_path):
    other = tmp_path / "other.json"
    other.write_text('{"a": 1}')
    done = weir("price import", path, other)
    assert done.returncode == 1 and "is neither LiteLLM's" in done.stderr
    other.write_text('{"a": ')
    assert "is no JSON" in weir("price import", path, other).stderr
    assert weir("price import", path, tmp_path / "none").returncode == 1
    assert weir("price import", path).returncode == 2
    assert weir("price", path).returncode == 2
    assert weir("price list", path, "--write").returncode == 2
    done = weir("price import", path, DATA / "litellm.json", "--upstream",
                "spark")
    assert done.returncode == 5 and "spark" in done.stderr
    assert weir("price --help", path).stdout.count("\n") <= 24
    # Written in a way that nothing can be added to.
    path.write_text(TEXT.replace(
        "prices:\n", "prices: &p\n").replace("users:", "x: *p\nusers:"))
    done = weir("price import", path, DATA / "litellm.json", "--write")
    assert done.returncode == 1 and "yourself" in done.stderr, done
    assert pathlib.Path(path).read_text().startswith("# Prices are below")
