"""The two sequence diagrams of the platform's document on upgrades, and its gateway: its messages,
word by word and in its order, against the stock broker and the one with the plugin."""
import hashlib
import queue
import re

import pytest

from otalib import Device, fetch, noise, wait

REPORT = '{\n  "version": "1.0.0"\n}'
CHECK = '{\n  "method": "otaCheck",\n  "params": {}\n}'
CHILD_CHECK = (
    '{\n  "device": "DEVICE1",\n  "event": { "method": "otaCheck", "params": {}, "id": 1000 }\n}'
)
NOTHING = (
    '{"method":"otaUpgrade","params":{"module":"main","upgrade":false},'
    '"command_name":"OTA升级","id":0}'
)
# the document's members in the document's order; sha256 is ours and stands at the end
UPGRADE = (
    '{"method":"otaUpgrade","params":{"module":"main","upgrade":true,"version":"1.0.1",'
    '"url":"%(url)s","size":%(size)d,"md5":"%(md5)s","sha256":"%(sha256)s"},'
    '"command_name":"OTA升级","id":%(id)s}'
)


@pytest.fixture(scope="module", params=[False, True], ids=["stock", "plugin"])
def module_site(request, tmp_path_factory):
    from conftest import Site

    site = Site(tmp_path_factory.mktemp("site"), plugin=request.param)
    if request.param:
        wait(lambda: "plugin is there" in site.otad.logs(), "otad hears the plugin")
    yield site
    site.close()


class Product:
    """A device type, and one device of it that a diagram is played with."""

    def __init__(self, site, topic="command_send", child=False):
        self.site, self.topic = site, topic
        self.kind = site.type()
        self.image = noise(self.kind, 54_321)
        self.key = site.name("DU_seq")
        self.login = site.name("DU_gw") if child else self.key
        if child:
            site.otad.device(self.login, site.type())
            site.otad.device(self.key, self.kind, gateway=self.login, address="DEVICE1")
        else:
            site.otad.device(self.key, self.kind)
        self.boot()

    def boot(self):
        """Connected and subscribed; what comes is kept as it came."""
        self.heard = queue.Queue()
        self.device = Device(self.site.broker, self.login)
        self.site.devices.append(self.device)
        self.device.client.on_message = lambda _c, _d, m: self.heard.put(
            (m.topic, m.payload.decode()))  # fmt: skip
        self.device.connected()
        if self.topic != "command_send":
            seen = self.device.sessions
            self.device.client.subscribe(f"{self.topic}/{self.login}", 1)
            self.device.reconnected(seen)

    def reboot(self):
        self.device.close()
        self.boot()

    def say(self, topic, text):
        self.device.publish(topic, text)

    def hear(self, want):
        topic, text = self.heard.get(timeout=60)
        assert (topic, text) == (f"{self.topic}/{self.login}", want)

    def release(self, version="1.0.1"):
        return self.site.otad.firmware(self.kind, version, ("app.bin", self.image))

    def hear_upgrade(self, wrapped="%s"):
        """It is the document's command; only the number, the link and the digests are of now."""
        topic, text = self.heard.get(timeout=60)
        assert topic == f"{self.topic}/{self.login}"
        update = self.site.otad.updates(self.key)[0]
        url = re.search(r'"url":"([^"]*)"', text).group(1)
        assert url.startswith(f"http://127.0.0.1:{self.site.otad.port}/")
        want = wrapped % (UPGRADE % {
            "url": url, "id": update["id"], "size": len(self.image),
            "md5": hashlib.md5(self.image).hexdigest(),
            "sha256": hashlib.sha256(self.image).hexdigest()})  # fmt: skip
        assert text == want.replace("@id@", str(update["id"]))
        assert update["state"] == "offered"
        return url

    def install(self, url):
        """Download, and start again."""
        assert fetch(self.site.otad.port, url).body == self.image
        self.reboot()

    def verified(self):
        self.site.otad.wait_state(self.key, "verified")
        assert len(self.site.otad.updates(self.key)) == 1

    def silent(self):
        """What otad sends comes in order: the answer to a check is the first to come."""
        assert self.heard.empty()
        self.say("event_report", CHECK)
        self.hear(NOTHING)
        assert self.heard.empty()


def test_the_device_asks(site):
    d = Product(site)
    d.say("attributes", REPORT)
    for _ in range(3):
        d.say("event_report", CHECK)
        d.hear(NOTHING)
    d.release()
    assert d.heard.empty(), "nobody asked"
    d.say("event_report", CHECK)
    d.install(d.hear_upgrade())
    d.say("attributes", REPORT.replace("1.0.0", "1.0.1"))
    d.verified()
    d.silent()


def test_the_platform_pushes(site):
    d = Product(site)
    d.say("attributes", REPORT)
    task = site.otad.ok("POST", "/tasks", {
        "name": "OTA 升级任务", "target": {"device_type": d.kind},
        "action": {"kind": "ota_push", "version_attribute": "version", "module": "main"}})  # fmt: skip

    def run():
        number = site.otad.ok("POST", f"/tasks/{task['id']}/run")["run_id"]
        path = f"/tasks/{task['id']}/runs/{number}"
        wait(lambda: site.otad.ok("GET", path)["ended_at"], "the run ends")
        return [(c["result"], c["n"]) for c in site.otad.ok("GET", path)["counts"]]

    assert run() == [("nothing", 1)]
    d.release()
    assert d.heard.empty(), "with nothing newer there is no message"
    assert run() == [("offered", 1)]
    d.install(d.hear_upgrade())
    d.say("attributes", REPORT.replace("1.0.0", "1.0.1"))
    d.verified()
    assert run() == [("nothing", 1)]
    d.silent()


def test_a_device_behind_a_gateway(site):
    """The document's picture has the number outside of `command`, its text inside: both are."""
    d = Product(site, "gateway_command_send", child=True)
    d.say("gateway_attributes", '{"DEVICE1": {"version": "1.0.0"}}')
    wrapped = '{"device":"DEVICE1","command":%s,"id":@id@}'
    d.say("gateway_event_report", CHILD_CHECK)
    d.hear((wrapped % NOTHING).replace("@id@", "0"))
    d.release()
    d.say("gateway_event_report", CHILD_CHECK)
    d.install(d.hear_upgrade(wrapped))
    d.say("gateway_attributes", '{"DEVICE1": {"version": "1.0.1"}}')
    d.verified()
