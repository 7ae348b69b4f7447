"""Fixtures: `site` is one broker and one otad for a test file, `make_site` makes special ones."""
import itertools
import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from otalib import Broker, Device, Otad, wait  # noqa: E402


class Site:
    """A broker, an otad, and the devices that a test connected."""

    names = itertools.count(1)

    def __init__(self, folder, conf=None, ready=True, plugin=False, **otad):
        self.dir = folder
        self.devices = []
        self.broker = Broker(folder / "broker", plugin)
        conf = conf(self.broker) if callable(conf) else conf
        self.otad = Otad(folder / "otad", self.broker, conf, **otad)
        self.broker.start()
        try:
            self.otad.start(ready)
        except BaseException:
            self.close()
            raise

    def name(self, stem):
        """A name that no other test has."""
        return f"{stem}{next(self.names)}"

    def type(self, **fields):
        key = self.name("type")
        self.otad.device_type(key, **fields)
        return key

    def connect(self, key, password=None, **kw):
        """Connect a registered device, as soon as the broker knows its login."""
        device = Device(self.broker, key, password, **kw)
        self.devices.append(device)
        return device.connected()

    def device(self, device_type=None, version=None, **fields):
        """Register and connect a new device; with a version: reported."""
        key = self.name("DU_e2e")
        self.otad.device(key, device_type or self.type(), **fields)
        device = self.connect(key, fields.get("password"))
        if version:
            device.report(version=version)
        return device

    def restart_broker(self, *devices, signo=signal.SIGTERM, meanwhile=None):
        """Stop it, start it, and wait until otad and the devices are back."""
        sessions = [d.sessions for d in devices]
        self.broker.stop(signo)
        wait(lambda: self.otad.metric("otad_mqtt_connected") == 0, "otad notices")
        if meanwhile:
            meanwhile()
        self.broker.start()
        self.otad.wait_for("/readyz")
        for device, n in zip(devices, sessions):
            device.reconnected(n)

    def release(self):
        for device in self.devices:
            device.close()
        self.devices.clear()

    def close(self):
        self.release()
        try:
            self.otad.stop()
        finally:
            self.broker.stop()


@pytest.fixture(scope="module")
def module_site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.close()


@pytest.fixture
def site(module_site):
    yield module_site
    module_site.release()
    assert module_site.otad.process.alive(), module_site.otad.logs()[-4000:]


@pytest.fixture
def make_site(tmp_path):
    made = []

    def make(conf=None, **more):
        made.append(Site(tmp_path / f"site{len(made)}", conf, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def upgrade(site):
    """A type with firmware 2.0.0 of known bytes and a device that runs 1.0.0."""
    from otalib import noise

    class Upgrade:
        type = site.type()
        data = noise(type, 300_001)
        firmware = site.otad.firmware(type, "2.0.0", ("app.bin", data))
        device = site.device(type, "1.0.0")

    return Upgrade
