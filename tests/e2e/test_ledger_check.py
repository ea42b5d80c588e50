"""`weir ledger check`: whatever happens to a ledger, it is told; and what the
gateway writes is whole, also while it writes."""

import concurrent.futures
import gzip
import json
import os
import re
import subprocess
import threading

import pytest

from harness import SANITIZERS, basic_config, bin_dir, chat_body, post

WRITER = "01K9W00000000000000000000A"

# Members that no other number answers for: a digit or a letter that changes in
# them cannot be seen.
ALONE = {
    "ts", "user", "model", "duration_ms", "id", "key", "api", "stream",
    "status", "end", "reasoning_tokens", "audio_tokens", "price_date",
    "ttft_ms", "queue_ms", "bytes_in", "bytes_out", "upstream",
    "upstream_model", "avoided_usd", "client", "client_request_id",
    "session", "predicted_ttft_ms", "prefill", "joined_by"}
ALONE_IN_ATTEMPT = {"upstream", "result"}


def check(path, *options, env=None, statuses=(0, 3)):
    """Runs the command on this ledger; its exit status and both outputs."""
    done = subprocess.run(
        [bin_dir() / "weir", "ledger", "check", "--ledger", path, *options],
        env={**os.environ, **SANITIZERS, **(env or {})}, timeout=60,
        capture_output=True, text=True, check=False)
    assert done.returncode in statuses, done
    return done


def each(job, items):
    """job(item) of each, a few at once."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(job, items))


def write(path, data):
    """Writes a ledger that nobody has touched for a while."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (10**9, 10**9))
    return path


def short_line(seq, user="bob", writer=WRITER):
    return (f'{{"ts":"2026-05-28T14:22:01Z","user":"{user}","attempts":[],'
            f'"writer":"{writer}","seq":{seq}}}\n').encode()


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Thirty lines by the real writer."""
    path = tmp_path_factory.mktemp("ledger") / "usage.jsonl"
    subprocess.run([bin_dir() / "weir-ledger-make", "30", path], check=True,
                   timeout=60)
    return path.read_bytes()


def findings(done):
    return [line for line in done.stderr.splitlines()
            if re.match(r"/.*?:(\d+:)? ", line)]


# --- damage ------------------------------------------------------------------

def test_a_cut_at_every_byte_of_the_last_lines_is_told(tmp_path):
    lines = [short_line(seq) for seq in range(1, 21)]
    data = b"".join(lines)
    borders = {sum(map(len, lines[:n])) for n in range(21)}

    def judge(size):
        path = write(tmp_path / str(size) / "usage.jsonl", data[:size])
        done = check(path)
        whole = data[:size].count(b"\n")
        assert done.returncode == (0 if size in borders else 3), (size, done)
        if size not in borders:
            assert findings(done) == [
                f"{path}:{whole + 1}: the last line is torn: it has no "
                "newline"]
        assert f"{whole} line" in done.stderr
    each(judge, range(len(b"".join(lines[:10])), len(data) + 1))


def test_a_tail_of_zero_bytes_is_told(tmp_path, real):
    for tail in b"\0", b"\0" * 100000:
        path = write(tmp_path / "usage.jsonl", real + tail)
        done = check(path)
        assert done.returncode == 3
        assert findings(done) == [
            f"{path}:31: the last line is torn: it has no newline"]
    path = write(tmp_path / "usage.jsonl", real + b"\0" * 5000 + b"\n")
    done = check(path)
    assert done.returncode == 3
    assert findings(done) == [f"{path}:31: it is longer than 3840 bytes"]


def changed_member(before, after):
    """The one member in which two lines differ, as a path."""
    here = {k for k in before if before[k] != after[k]}
    assert before.keys() == after.keys() and len(here) == 1
    name = here.pop()
    if name != "attempts":
        return name
    pairs = [(a, b) for a, b in zip(before[name], after[name], strict=True)
             if a != b]
    assert len(pairs) == 1
    return "attempts." + changed_member(*pairs[0])


@pytest.mark.parametrize("flip", [0x01, 0x10, 0x80])
def test_a_flipped_bit_is_told_unless_only_a_lone_value_is_another(
        tmp_path, real, flip):
    lines = real.splitlines(keepends=True)
    begin = sum(map(len, lines[:14]))
    before = json.loads(lines[14])

    def judge(at):
        data = bytearray(real)
        data[begin + at] ^= flip
        path = write(tmp_path / str(at) / "usage.jsonl", data)
        done = check(path)
        if done.returncode == 3:
            assert any(re.match(rf"{path}:1[4-7]: ", line)
                       for line in findings(done)), done
            return None
        after = json.loads(bytes(data).splitlines()[14])
        return changed_member(before, after)

    unseen = set(each(judge, range(len(lines[14])))) - {None}
    assert unseen <= ALONE | {f"attempts.{x}" for x in ALONE_IN_ATTEMPT}


def test_a_closed_file_that_was_checked_shows_any_flip(start, mock):
    gateway = start(basic_config(mock))
    assert gateway.chat("tokens=3").status == 200
    gateway.stop()
    closed = gateway.ledger_path.with_name("usage.jsonl.1")
    gateway.ledger_path.rename(closed)
    gateway.start()
    gateway.chat("tokens=3")
    gateway.flush_ledger()
    gateway.command("ledger", "check")
    data = bytearray(closed.read_bytes())
    data[data.index(b'"duration_ms":') + 14] ^= 1
    closed.write_bytes(data)
    done = gateway.command("ledger", "check", check=False)
    assert done.returncode == 3
    assert f"{closed}: it is no longer what it was" in done.stderr
    (gateway.state / "checked.json").unlink()
    gateway.command("ledger", "check")


# --- the sequence ------------------------------------------------------------

def test_a_gap_and_a_double_are_told_with_their_lines(tmp_path, real):
    lines = real.splitlines(keepends=True)
    path = write(tmp_path / "gap" / "usage.jsonl",
                 b"".join(lines[:9] + lines[11:]))
    done = check(path)
    assert done.returncode == 3
    assert len(findings(done)) == 1
    assert findings(done)[0].startswith(f"{path}:10: of writer ")
    assert findings(done)[0].endswith(
        " 2 lines are missing before this one: 10 to 11")

    path = write(tmp_path / "double" / "usage.jsonl",
                 b"".join(lines[:9] + lines[8:]))
    done = check(path)
    assert done.returncode == 3
    assert len(findings(done)) == 1
    assert re.match(rf"{path}:10: line 9 of writer \w+ comes again, after its "
                    "line 9", findings(done)[0])


def test_the_sequence_goes_over_the_files(tmp_path, real):
    lines = real.splitlines(keepends=True)
    write(tmp_path / "usage.jsonl.2", b"".join(lines[:10]))
    write(tmp_path / "usage.jsonl.1.gz",
          gzip.compress(b"".join(lines[10:15])) +
          gzip.compress(b"".join(lines[15:20])))
    path = write(tmp_path / "usage.jsonl", b"".join(lines[20:]))
    assert check(path).returncode == 0
    (tmp_path / "usage.jsonl.1.gz").unlink()
    done = check(path)
    assert done.returncode == 3
    assert findings(done)[0].startswith(f"{path}:1: of writer ")
    # The oldest one may be removed.
    (tmp_path / "usage.jsonl.2").unlink()
    assert check(path).returncode == 0


def test_a_plain_file_and_its_gzipped_double_count_once(tmp_path, real):
    whole = check(write(tmp_path / "one" / "usage.jsonl", real)).stdout
    lines = real.splitlines(keepends=True)
    first = b"".join(lines[:20])
    for number, packed in enumerate([
            gzip.compress(first), gzip.compress(first)[:300], b"\x1f\x8b"]):
        folder = tmp_path / f"two{number}"
        write(folder / "usage-20261121-001.jsonl", first)
        write(folder / "usage-20261121-001.jsonl.gz", packed)
        done = check(write(folder / "usage.jsonl", b"".join(lines[20:])))
        assert done.returncode == 0, done
        assert done.stdout == whole


# --- lines of other versions, and any text -----------------------------------

def test_older_and_newer_lines_are_read(tmp_path, real):
    lines = real.splitlines()
    older = json.loads(lines[0])
    del older["usage_damaged"], older["session"]
    newer = lines[1].replace(
        b'"attempts"', b'"x":{"y":[1,{"seq":0}]},"attempts"')
    spaced = json.dumps(json.loads(lines[2]),
                        separators=(" , ", "\t: ")).encode() + b"\r"
    turned = dict(reversed(json.loads(lines[3]).items()))
    path = write(tmp_path / "usage.jsonl", b"\n".join([
        json.dumps(older).encode(), newer, spaced,
        json.dumps(turned).encode(), *lines[4:], b""]))
    done = check(path)
    assert done.returncode == 0, done
    assert "30 lines in 1 file. All is well." in done.stderr
    assert done.stdout == check(
        write(tmp_path / "real" / "usage.jsonl", real)).stdout


def test_any_text_gives_one_good_line(start, mock):
    # An upstream's model may have any name; a client's labels may not.
    name = 'a"b\\c\u2028\u00fc\U0001f600'
    config = basic_config(mock)
    config["models"]["m"]["routes"][0]["model"] = name
    gateway = start(config)
    for text in [b'"', b"\\", b'"}\\n{"', "\u2028\u00fc\U0001f600".encode(),
                 b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80"]:
        reply = gateway.send(post(
            chat_body("tokens=1"), gateway.keys["alice"],
            fields=[b"User-Agent: " + text, b"Session-Id: " + text,
                    b"X-Request-Id: " + text]))
        assert reply.status == 200
    lines = gateway.lines()
    assert len(lines) == 8
    assert {x["upstream_model"] for x in lines} == {name}
    # Some readers take it for the end of a line.
    data = gateway.ledger_path.read_bytes()
    assert "\u2028" not in data.decode() and b"\\u2028" in data
    gateway.command("ledger", "check")


# --- a gateway that writes ---------------------------------------------------

def total(lines, user, name):
    return sum(x[name] for x in lines if x["user"] == user)


def test_what_the_gateway_writes_is_whole_and_its_sums_are_told(start, mock):
    config = basic_config(mock)
    config["prices"] = {"mock": {"mock-model": [
        {"from": "2026-01-01", "input": "1.74", "input_cached": "0.145",
         "output": "3.48"}]}}
    gateway = start(config)
    for mode in ["tokens=5", "tokens=3 cached=2", "status=500", "status=429",
                 "reset_after=2 tokens=9", "usage=none tokens=4"]:
        gateway.chat(mode)
        gateway.chat(mode, gateway.keys["bob"], stream=True)
    gateway.post({"model": "none"}, gateway.keys["bob"])
    gateway.flush_ledger()
    lines = gateway.ledger()
    done = gateway.command("ledger", "check", "--json")
    rows = {row["user"]: row for row in json.loads(done.stdout)["users"]}
    for user in "alice", "bob":
        assert rows[user]["requests"] == len(
            [x for x in lines if x["user"] == user and x["attempts"]])
        for column, name in [("input_tokens", "prompt_tokens"),
                             ("cached_tokens", "cached_tokens"),
                             ("output_tokens", "completion_tokens"),
                             ("reasoning_tokens", "reasoning_tokens")]:
            assert rows[user][column] == total(lines, user, name)
        money = sum(int(x["cost_usd"].replace(".", ""))
                    for x in lines if x["user"] == user)
        assert int(rows[user]["cost_usd"].replace(".", "")) == money
    assert f"{len(lines)} lines in 1 file. All is well." in done.stderr


def test_a_check_beside_a_busy_gateway_finds_nothing(start, mock):
    gateway = start(basic_config(mock))
    is_over = threading.Event()

    def keep_busy():
        while not is_over.is_set():
            gateway.chat("tokens=1")

    workers = [threading.Thread(target=keep_busy) for _ in range(4)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(15):
            gateway.command("ledger", "check")
    finally:
        is_over.set()
        for worker in workers:
            worker.join()


def test_a_checked_file_is_not_read_again_unless_all_are(start, mock):
    gateway = start(basic_config(mock))
    gateway.chat("tokens=1")
    gateway.stop()
    gateway.ledger_path.rename(gateway.ledger_path.with_name("usage.jsonl.1"))
    gateway.start()
    gateway.chat("tokens=1")
    gateway.flush_ledger()
    first = gateway.command("ledger", "check")
    second = gateway.command("ledger", "check")
    every = gateway.command("ledger", "check", "--all")
    assert first.stdout == second.stdout == every.stdout
    assert "not read" not in first.stderr + every.stderr
    assert "2 files, 1 of them not read" in second.stderr
    mode = (gateway.state / "checked.json").stat().st_mode
    assert mode & 0o777 == 0o600


# --- how it is said ----------------------------------------------------------

def test_of_a_file_twenty_findings_are_told_and_a_count(tmp_path):
    write(tmp_path / "usage.jsonl.1",
          short_line(1) + b"garbage\n" * 50 + short_line(52))
    path = write(tmp_path / "usage.jsonl", b"garbage\n" + short_line(54))
    done = check(path)
    assert done.returncode == 3
    assert len(findings(done)) == 22
    assert f"{tmp_path}/usage.jsonl.1: 30 findings more" in done.stderr
    assert findings(done)[-1].startswith(f"{path}:1: ")
    assert "51 findings." in done.stderr


def test_the_table_is_for_pipes_and_programs_too(tmp_path):
    path = write(tmp_path / "usage.jsonl",
                 short_line(1, "zoe") + short_line(2, "a\\tb"))
    rows = check(path).stdout.splitlines()
    assert rows == [
        "USER\tREQUESTS\tINPUT\tCACHED\tOUTPUT\tREASONING\tCOST",
        "a\\x09b\t0\t0\t0\t0\t0\t0.000000000000",
        "zoe\t0\t0\t0\t0\t0\t0.000000000000"]
    for done in check(path, "--json"), check(path, env={"WEIR_OUTPUT": "json"}):
        parsed = json.loads(done.stdout)
        assert parsed["schema"] == 1
        assert [x["user"] for x in parsed["users"]] == ["a\tb", "zoe"]


def test_a_ledger_that_was_named_must_be_there(tmp_path):
    for path in (tmp_path / "usage.jsonl", tmp_path / "none" / "usage.jsonl",
                 tmp_path):
        for options in [], ["--json"]:
            done = check(path, *options, statuses=[5])
            assert done.stdout == ""
            assert f"there is no ledger at {path}\n" in done.stderr
    assert check(write(tmp_path / "usage.jsonl", b"")).returncode == 0


def test_the_configured_ledger_may_not_be_there_yet(start, mock):
    gateway = start(basic_config(mock))
    gateway.stop()
    gateway.ledger_path.unlink()
    done = gateway.command("ledger", "check")
    assert "There is no ledger" in done.stderr


def test_the_beginning_is_told_where_lines_before_it_are_not_here(
        tmp_path, real):
    told = (f"The ledger begins with line 31 of writer {WRITER}; 30 before it "
            "are not here (older files were removed?)\n")
    done = check(write(tmp_path / "usage.jsonl",
                       short_line(31) + short_line(32)))
    assert done.returncode == 0
    assert told in done.stderr and findings(done) == []
    assert "2 lines in 1 file. All is well." in done.stderr
    done = check(write(tmp_path / "usage.jsonl", real))
    assert "begins with" not in done.stderr


def test_programs_get_the_findings(tmp_path):
    write(tmp_path / "usage.jsonl.2", b"")
    write(tmp_path / "usage.jsonl.1", short_line(1) + b"garbage\n" * 2000)
    path = write(tmp_path / "usage.jsonl", short_line(2002))
    done = check(path, "--json")
    assert done.returncode == 3
    parsed = json.loads(done.stdout)
    assert parsed["schema"] == 1
    assert (parsed["files"], parsed["lines"], parsed["remembered"]) == (2, 2, 0)
    assert parsed["findings_total"] == 2001
    assert len(parsed["findings"]) == 1000
    assert parsed["findings"][:2] == [
        {"file": f"{tmp_path}/usage.jsonl.2", "line": 0,
         "text": "it is empty: what stood in it is lost"},
        {"file": f"{tmp_path}/usage.jsonl.1", "line": 2,
         "text": "it is broken JSON at byte 1"}]
    done = check(write(tmp_path / "good" / "usage.jsonl", short_line(1)),
                 "--json")
    parsed = json.loads(done.stdout)
    assert (parsed["files"], parsed["lines"]) == (1, 1)
    assert (parsed["findings_total"], parsed["findings"]) == (0, [])


def test_a_damaged_gzip_file_is_named_and_counted_once(tmp_path, real):
    lines = real.splitlines(keepends=True)
    packed = gzip.compress(b"".join(lines[:20]))
    gone = write(tmp_path / "usage.jsonl.1.gz", packed[:len(packed) * 2 // 3])
    done = check(write(tmp_path / "usage.jsonl", b"".join(lines[20:])))
    assert done.returncode == 3
    assert len(findings(done)) == 1 and "1 finding." in done.stderr
    assert findings(done)[0].startswith(f"{gone}: it is no whole gzip file: ")
    assert done.stderr.count(str(gone)) == 1


def test_a_checked_file_that_is_gone_from_the_middle_is_told(start, mock):
    gateway = start(basic_config(mock))
    closed = [gateway.ledger_path.with_name(f"usage.jsonl.{n}")
              for n in (3, 2, 1)]
    for path in closed:
        gateway.chat("tokens=1")
        gateway.stop()
        gateway.ledger_path.rename(path)
        gateway.start()
    gateway.chat("tokens=1")
    gateway.flush_ledger()
    gateway.command("ledger", "check")
    parsed = json.loads(gateway.command("ledger", "check", "--json").stdout)
    assert (parsed["files"], parsed["remembered"]) == (4, 3)
    closed[1].unlink()
    done = gateway.command("ledger", "check", check=False)
    assert done.returncode == 3
    assert len(findings(done)) == 1
    assert "(1 line) was checked before and is gone" in findings(done)[0]
    closed[0].unlink()
    gateway.command("ledger", "check")


@pytest.mark.parametrize("argv", [
    ["ledger"], ["ledger", "chec"], ["ledger", "check", "more"],
    ["ledger", "check", "--bogus"]])
def test_wrong_usage_is_said(argv):
    done = subprocess.run([bin_dir() / "weir", *argv], timeout=60,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "weir ledger" in done.stderr
