"""One gateway and one model server a file; every test begins with a clean
slate and is followed by a look at what it left behind."""

import pytest

from harness import Gateway, Mock, basic_config


@pytest.fixture(scope="module")
def mock_server():
    """The process; tests take `mock`."""
    server = Mock()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def config(mock_server):
    """A file of tests that needs another configuration has its own."""
    return basic_config(mock_server)


class Keeper:
    """Starts the file's gateway when it is first wanted, and anew when the
    one before it has died."""

    def __init__(self, config, factory):
        self.config = config
        self.factory = factory
        self.gateway = None

    def get(self):
        if self.gateway is None or not self.gateway.is_running():
            self.gateway = Gateway(self.config, self.factory.mktemp("weir"))
        return self.gateway


@pytest.fixture(scope="module")
def gateway_keeper(config, tmp_path_factory):
    keeper = Keeper(config, tmp_path_factory)
    yield keeper
    if keeper.gateway is not None:
        keeper.gateway.stop()


@pytest.fixture
def mock(mock_server):
    mock_server.reset()
    yield mock_server
    mock_server.reset()


@pytest.fixture
def gateway(gateway_keeper, mock):
    it = gateway_keeper.get()
    it.begin()
    mock.reset()
    yield it
    it.assert_quiet()
    mock.wait_stats(in_flight=0, connections_open=0)


@pytest.fixture
def start(tmp_path):
    """start(config) is a gateway of the test's own."""
    started = []

    def begin(config, **options):
        it = Gateway(config, tmp_path / f"weir{len(started)}", **options)
        started.append(it)
        it.begin()
        return it
    yield begin
    for it in started:
        if it.is_running():
            it.assert_quiet()
            it.stop()
        else:
            it.check_output()
