"""From where: what a client's address decides, and that only the peer, or a
proxy that is trusted, has a say in what it is."""

import json
import re
import socket

import pytest

from dialects import CHAT, assert_says, new_lines
from harness import Gateway, basic_config, head
from sources import send_from

REFUSED = "address_refused"


def with_addresses(mock_server):
    config = basic_config(mock_server)
    config["users"] |= {
        "near": {"models": ["*"], "from": ["127.1.0.0/16", "127.2.2.2"]},
        "wide": {"models": ["*"], "from": ["0.0.0.0/0"]},
        "lan": {"key": "none", "models": ["m"], "from": ["127.3.0.0/16"]},
        "lan2": {"key": "none", "models": ["m"], "from": ["127.0.0.0/8"]},
    }
    return config


@pytest.fixture(scope="module")
def config(mock_server):
    return with_addresses(mock_server)


def status_from(gateway, source, key=None, fields=()):
    reply = send_from(gateway.port, source, head(
        key=key, fields=[*fields, "Connection: close"]))
    if reply.status == 403:
        assert reply.json()["error"]["code"] == REFUSED, reply
    return reply.status


# --- from --------------------------------------------------------------------

@pytest.mark.parametrize("source, status", [
    ("127.1.0.1", 200), ("127.1.255.254", 200), ("127.2.2.2", 200),
    ("127.2.2.3", 403), ("127.2.2.1", 403), ("127.0.255.255", 403),
    ("127.0.0.1", 403)])
def test_a_key_may_be_bound_to_addresses(gateway, mock, source, status):
    assert status_from(gateway, source, gateway.keys["near"]) == status
    assert status_from(gateway, source, gateway.keys["wide"]) == 200
    reply = send_from(gateway.port, source, CHAT.request(
        gateway.keys["near"], "tokens=1"))
    assert reply.status == status
    if status == 403:
        assert_says_refused(reply)
        mock.assert_untouched()
    assert [x["user"] for x in gateway.lines()] == ["near"] * (status == 200)


def assert_says_refused(reply):
    assert reply.json()["error"]["code"] == REFUSED, reply
    assert reply.header("x-should-retry") == "false", reply


# --- key: none ---------------------------------------------------------------

def test_who_needs_no_key_is_known_by_the_address_alone(gateway, mock):
    for source, user in (("127.3.0.1", "lan"), ("127.9.0.1", "lan2")):
        reply = send_from(gateway.port, source, CHAT.request(None, "tokens=1"))
        assert reply.status == 200, reply
        assert gateway.lines()[-1]["user"] == user
        assert gateway.lines()[-1]["key"] is None


@pytest.mark.parametrize("fields, status", [
    ([], 200),
    (["Authorization: Bearer sk-weir-wrong"], 401),
    (["Authorization: Bearer x"], 401),
    (["Authorization: Basic YTpi"], 401),
    (["x-api-key: not-needed"], 401),
    (["x-api-key:"], 200),
    (["Authorization: Bearer"], 200),
])
def test_with_a_wrong_key_nobody_is_let_in_for_the_address(
        gateway, mock, fields, status):
    assert status_from(gateway, "127.3.0.7", fields=fields) == status


def test_a_valid_key_wins_over_the_address(gateway, mock):
    send_from(gateway.port, "127.3.0.1",
              CHAT.request(gateway.keys["alice"], "tokens=1"))
    line, = new_lines(gateway, 1)
    assert line["user"] == "alice"


def test_a_user_without_a_key_must_say_from_where(gateway, mock):
    broken = with_addresses(type("Server", (), {"url": "http://127.0.0.1:1"}))
    del broken["users"]["lan"]["from"]
    path = gateway.folder / "broken.yaml"
    path.write_text(json.dumps(broken))
    done = gateway.command("check", "-c", str(path), check=False)
    assert done.returncode == 3 and "from" in done.stderr + done.stdout, done


# --- X-Forwarded-For ---------------------------------------------------------

# What a header may try.
FORGED = ["X-Forwarded-For: 127.1.0.1", "X-Forwarded-For: 127.3.0.1",
          "Forwarded: for=127.1.0.1", "X-Real-IP: 127.1.0.1",
          "True-Client-IP: 127.1.0.1", "CF-Connecting-IP: 127.1.0.1",
          "X-Client-IP: 127.1.0.1", "Tailscale-User-Login: near",
          "X-Webauth-User: near", "X-Gateway-User: near"]


@pytest.mark.parametrize("field", FORGED)
def test_no_header_of_a_strangers_counts(gateway, mock, field):
    assert status_from(gateway, "127.4.4.4", gateway.keys["near"],
                       [field]) == 403
    send_from(gateway.port, "127.4.4.4",
              CHAT.request(None, "tokens=1", [field]))
    assert new_lines(gateway, 1)[0]["user"] == "lan2"
    sent = [k.lower() for k, _ in mock.last()["headers"]]
    assert field.partition(":")[0].lower() not in sent, sent


@pytest.fixture(scope="module")
def behind_proxies(mock_server, tmp_path_factory):
    config = with_addresses(mock_server)
    config["server"]["trusted_proxies"] = ["127.5.0.0/16"]
    del config["users"]["lan2"]
    gateway = Gateway(config, tmp_path_factory.mktemp("proxies"))
    yield gateway
    gateway.stop()


# The peer, the fields, the status for a key that is bound to 127.1.0.0/16.
FORWARDED = [
    ("127.5.0.1", ["127.1.0.1"], 200),
    ("127.5.0.1", ["127.4.0.1"], 403),
    ("127.5.0.1", [], 403),
    # The last one that is no proxy of ours counts, whatever stands before.
    ("127.5.0.1", ["127.1.0.1, 127.4.0.1"], 403),
    ("127.5.0.1", ["127.4.0.1, 127.1.0.1"], 200),
    ("127.5.0.1", ["127.4.0.1,127.1.0.1"], 200),
    ("127.5.0.1", ["127.4.0.1, 127.1.0.1, 127.5.0.9"], 200),
    ("127.5.0.1", ["127.1.0.1, 127.4.0.1, 127.5.0.9, 127.5.0.8"], 403),
    ("127.5.0.1", ["127.5.0.7"], 403),
    # A proxy may add a field of its own.
    ("127.5.0.1", ["127.1.0.1", "127.4.0.1"], 403),
    ("127.5.0.1", ["127.4.0.1", "127.1.0.1"], 200),
    ("127.5.0.1", ["127.1.0.1", "127.5.0.9"], 200),
    # Other spellings of an address.
    ("127.5.0.1", ["::ffff:127.1.0.1"], 200),
    ("127.5.0.1", ["::ffff:127.4.0.1"], 403),
    ("127.5.0.1", ["::1"], 403),
    # What is no address is not passed over.
    ("127.5.0.1", ["127.1.0.1, unknown"], 403),
    ("127.5.0.1", ["127.1.0.1, "], 403),
    ("127.5.0.1", ["127.1.0.1,,"], 403),
    ("127.5.0.1", ["127.1.0.01"], 403),
    ("127.5.0.1", ["0177.1.0.1"], 403),
    ("127.5.0.1", ["127.1.1"], 403),
    ("127.5.0.1", ["127.1.0.1:80"], 403),
    ("127.5.0.1", ["127.1.0.1 127.1.0.1"], 403),
    ("127.5.0.1", ["'127.1.0.1'"], 403),
    # Nobody else is believed.
    ("127.6.0.1", ["127.1.0.1"], 403),
    ("127.6.0.1", ["127.1.0.1, 127.5.0.1"], 403),
    ("127.1.0.1", ["127.4.0.1"], 200),
]


@pytest.mark.parametrize("peer, values, status", FORWARDED)
def test_a_trusted_proxy_says_who_asks(behind_proxies, peer, values, status):
    fields = [f"X-Forwarded-For: {v}" for v in values]
    gateway = behind_proxies
    assert status_from(gateway, peer, gateway.keys["near"], fields) == status


def test_a_proxy_tells_who_needs_no_key(behind_proxies):
    for value, status in (("127.3.0.1", 200), ("127.4.0.1", 401),
                          ("127.3.0.1, 127.4.0.1", 401)):
        assert status_from(behind_proxies, "127.5.0.1",
                           fields=[f"X-Forwarded-For: {value}"]) == status


# --- allow_from --------------------------------------------------------------

def test_allow_from_is_for_everybody(start, mock_server):
    config = with_addresses(mock_server)
    config["server"]["allow_from"] = ["127.0.0.0/16", "127.1.0.0/24", "::1"]
    gateway = start(config)
    for source, status in (("127.0.0.1", 200), ("127.1.0.200", 200),
                           ("127.1.1.1", 403), ("127.3.0.1", 403)):
        assert status_from(gateway, source, gateway.keys["alice"]) == status
        assert status_from(gateway, source) == status  # without a key
        assert status_from(gateway, source, "sk-weir-x") == \
            (401 if status == 200 else 403)
    assert send_from(gateway.port, "127.9.9.9",
                     head(path="/healthz")).status == 200
    gateway.stop()


# --- ranges in the configuration ---------------------------------------------

# A range, whether it is one.
RANGES = [
    ("0.0.0.0/0", True), ("::/0", True), ("127.0.0.1", True),
    ("10.0.0.0/8", True), ("2001:db8::/32", True), ("::1", True),
    ("::ffff:10.0.0.0/104", None),
    ("10.0.0.0/33", False), ("::/129", False), ("10.0.0.0/-1", False),
    ("10.0.0.1/8", False), ("2001:db8::1/32", False), ("010.0.0.1", False),
    ("10.0.0.010", False), ("10.0.0", False), ("10.0.0.0/08", False),
    ("10.0.0.256", False), ("10.0.0.0/", False), ("/8", False), ("", False),
    ("localhost", False), ("10.0.0.0/8 ", None), ("0x7f.0.0.1", False),
]


@pytest.mark.parametrize("where", ["allow_from", "trusted_proxies", "from"])
def test_only_a_range_is_taken_for_one(gateway, mock, where):
    for text, is_range in RANGES:
        config = basic_config(mock)
        if where == "from":
            config["users"]["alice"]["from"] = [text]
        else:
            config["server"][where] = [text]
        config["server"]["state_dir"] = str(gateway.state)
        path = gateway.folder / "range.yaml"
        path.write_text(json.dumps(config))
        done = gateway.command("check", "-c", str(path), check=False)
        if is_range is not None:
            assert done.returncode == (0 if is_range else 3), (text, done)


# --- where it listens --------------------------------------------------------

def listening(gateway):
    """The addresses on which the process listens."""
    inodes = {re.search(r"\d+", f)[0] for f in gateway.fds()
              if f.startswith("socket:")}
    found = set()
    for table, size in (("tcp", 8), ("tcp6", 32)):
        with open(f"/proc/net/{table}") as lines:
            for line in list(lines)[1:]:
                fields = line.split()
                if fields[3] != "0A" or fields[9] not in inodes:
                    continue
                words = re.findall(".{8}", fields[1][:size])
                raw = b"".join(bytes.fromhex(w)[::-1] for w in words)
                family = socket.AF_INET if size == 8 else socket.AF_INET6
                found.add(socket.inet_ntop(family, raw))
    return found


def test_it_listens_where_it_was_told_to_and_nowhere_else(gateway, mock):
    assert listening(gateway) == {"127.0.0.1"}


def test_where_nothing_is_said_it_listens_on_the_loopback(start, mock_server):
    try:
        socket.create_server(("127.0.0.1", 8643)).close()
    except OSError:
        pytest.skip("somebody has the usual port")
    config = with_addresses(mock_server)
    config["server"] = {"state_dir": "state"}
    gateway = start(json.dumps(config))
    assert (listening(gateway), gateway.port) == ({"127.0.0.1"}, 8643)
    gateway.stop()


def test_it_listens_on_several_addresses(start, mock_server):
    config = with_addresses(mock_server)
    config["server"]["listen"] = ["127.0.0.1:0", "127.8.0.1:0", "[::1]:0"]
    config["users"]["six"] = {"models": ["*"], "from": ["::1"]}
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        config["server"]["listen"].pop()
    gateway = start(config)
    urls = re.findall(r"http://(\[?[0-9a-f.:]+\]?):(\d+)/v1", gateway.log())
    assert len(urls) == len(config["server"]["listen"])
    assert listening(gateway) == {u[0].strip("[]") for u in urls}
    for host, port in urls:
        host = host.strip("[]")
        key = gateway.keys["six" if ":" in host else "alice"]
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(head(key=key, fields=["Connection: close"]))
            data = b""
            while piece := sock.recv(65536):
                data += piece
        assert data.startswith(b"HTTP/1.1 200 "), (host, data)
    assert status_from(gateway, "127.0.0.1", gateway.keys["six"]) == 403
    gateway.stop()


# --- what is not for the public ----------------------------------------------

@pytest.mark.parametrize("path", [
    "/metrics", "/admin", "/admin/", "/admin/v1/summary", "/ui/", "/me",
    "/v1/metrics", "/metrics?x", "/v1/organization/costs", "/debug", "/status",
    "/server-status", "/tokenize", "/v1/load_lora_adapter", "/slots"])
def test_what_is_for_the_owner_is_not_on_the_public_listener(
        gateway, mock, path):
    for source in ("127.0.0.1", "127.3.0.1"):
        for fields in ([], ["Origin: http://evil.example"],
                       ["X-Forwarded-For: 127.0.0.1"]):
            for key in (None, gateway.keys["alice"]):
                reply = send_from(gateway.port, source, head(
                    path=path, key=key, fields=[*fields, "Connection: close"]))
                assert_says(CHAT, reply, 404, "unknown_url")
                assert reply.header("Access-Control-Allow-Origin") is None
    mock.assert_untouched()
