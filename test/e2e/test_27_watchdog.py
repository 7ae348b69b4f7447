"""Signs of life for systemd: only a core that gets on with its work gives them."""
import os
import signal
import socket
import tempfile
import threading

import pytest
from otalib import PRELOAD, Broker, Device, Otad, request, wait

PERIOD_US = 1_000_000  # fed four times as often, at most
SILENCE = 4.0  # seconds: many feedings


class Manager:
    """What systemd is to a service: the socket that it tells its state."""

    def __init__(self, folder):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"{folder}/notify")
        self.env = {"NOTIFY_SOCKET": f"{folder}/notify", "WATCHDOG_USEC": str(PERIOD_US)}
        self.told = []

    def hear(self, seconds):
        """The next message, None when none came in that time."""
        self.socket.settimeout(seconds)
        try:
            self.told.append(self.socket.recv(4096).decode())
        except TimeoutError:
            return None
        return self.told[-1]

    def until(self, word):
        """Everything up to a message that has a line with that word."""
        heard = []
        while not heard or word not in heard[-1].splitlines():
            heard.append(self.hear(60))
            assert heard[-1] is not None, f"waited in vain for {word}: {heard}"
        return heard

    def fed(self, times=4):
        for _ in range(times):
            self.until("WATCHDOG=1")

    def quiet(self):
        """Whether nothing came for long. What was sent before is heard first."""
        return self.hear(SILENCE) is None


@pytest.fixture
def manager():
    with tempfile.TemporaryDirectory(prefix="otad-") as folder:
        yield Manager(folder)


def test_states_are_told(make_site, manager):
    site = make_site(env=manager.env)
    assert "READY=1" in manager.until("READY=1")[-1]
    manager.fed()
    site.otad.process.send(signal.SIGHUP)
    assert any(x.startswith("RELOADING=1\nMONOTONIC_USEC=") for x in manager.until("READY=1"))
    manager.fed()
    assert site.otad.stop() == 0
    manager.until("STOPPING=1")


def test_no_watchdog_no_signs(make_site, manager):
    del manager.env["WATCHDOG_USEC"]
    make_site(env=manager.env)
    manager.until("READY=1")
    assert manager.quiet()


def test_a_commit_that_hangs_starves_it(make_site, manager, tmp_path):
    control = tmp_path / "control"
    site = make_site(
        env={**manager.env, "FAULTFS_CONTROL": str(control)}, preload=PRELOAD / "faultfs.so"
    )
    manager.until("READY=1")
    manager.fed()
    (tmp_path / "new").write_text("sync_block")
    (tmp_path / "new").rename(control)
    writer = threading.Thread(target=lambda: site.otad.rest("POST", "/device-types", {"key": "stuck"}))
    writer.start()
    wait(manager.quiet, "no more signs of life", seconds=120)
    assert request(site.otad.port, "GET", "/healthz").status == 200, "http lives all the while"
    control.unlink()
    writer.join()
    manager.fed()
    assert site.otad.rest("GET", "/device-types/stuck").status == 200


class Piped(Otad):
    """Its log goes into a pipe, which somebody reads or does not."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        os.mkfifo(self.log)
        self.end = os.open(self.log, os.O_RDONLY | os.O_NONBLOCK)

    def logs(self):
        return ""

    def drain(self):
        try:
            while os.read(self.end, 65536):
                pass
        except BlockingIOError:
            pass
        return True


def test_a_core_that_hangs_starves_it(manager, tmp_path):
    """The core writes a line of the log for each message; nobody reads, and it stands still."""
    broker = Broker(tmp_path / "broker")
    otad = Piped(tmp_path / "otad", broker, {"log.rooms": "core=debug"}, env=manager.env)
    broker.start()
    try:
        otad.start()
        otad.device_type("lamp")
        otad.device("DU_lamp", "lamp")
        device = Device(broker, "DU_lamp").connected()
        otad.drain()
        manager.until("READY=1")
        manager.fed()
        for i in range(2000):
            device.publish("attributes", {"version": "1.0", "n": i}, wait_ack=False)
        wait(manager.quiet, "no more signs of life", seconds=120)
        assert request(otad.port, "GET", "/healthz").status == 200, "http lives all the while"
        wait(lambda: otad.drain() and not manager.quiet(), "it gets on")
        device.close()
        stop = threading.Thread(target=otad.stop)
        stop.start()
        wait(lambda: otad.drain() and not stop.is_alive(), "it stops")
        stop.join()
    finally:
        otad.kill()
        broker.stop()
        os.close(otad.end)
