"""Mosquitto with otad's plugin: whose a client id is, what is left of a connection that was taken
over, and of sessions whose client is away."""
import queue
import signal

import paho.mqtt.client as paho
import pytest
from otalib import wait
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from test_13_plugin import V3, V5, Client, online, register

SERVICE = ("otad", "broker-password-of-otad")


@pytest.fixture(scope="module")
def module_site(tmp_path_factory):
    from conftest import Site

    site = Site(tmp_path_factory.mktemp("site"), plugin=True)
    wait(lambda: "plugin is there" in site.otad.logs(), "otad hears the plugin")
    yield site
    site.close()


class Keeper:
    """A client whose session is kept while it is away."""

    def __init__(self, site, key, client_id):
        self.site, self.inbox, self.granted = site, queue.Queue(), queue.Queue()
        if hasattr(paho, "CallbackAPIVersion"):  # paho 2
            self.c = paho.Client(paho.CallbackAPIVersion.VERSION1, client_id, clean_session=False)
        else:
            self.c = paho.Client(client_id, clean_session=False)
        self.c.username_pw_set(key, f"secret-of-{key}")
        self.c.on_subscribe = lambda *_: self.granted.put(1)
        self.c.on_message = lambda _c, _d, m: self.inbox.put((m.topic, m.payload))

    def come(self):
        self.c.connect("127.0.0.1", self.site.broker.port)
        self.c.loop_start()
        return self

    def subscribe(self, topic):
        self.c.subscribe(topic, 1)
        self.granted.get(timeout=60)

    def go(self):
        self.c.disconnect()
        self.c.loop_stop()


def hup(site):
    seen = site.broker.log.read_text().count("logins read")
    site.broker.process.send(signal.SIGHUP)
    wait(lambda: site.broker.log.read_text().count("logins read") > seen, "it reads the file")


def refused(site, key, client_id, version=V3):
    c = Client(site, key, client_id=client_id, version=version)
    wait(lambda: c.refused or c.up, "the broker answers")
    c.close()
    return bool(c.refused) and c.downs == 0


@pytest.mark.parametrize("version", [V3, V5])
def test_a_takeover_publishes_no_will(site, version):
    """The broker looks at the old connection's will before it ends that connection."""
    kind = site.type()
    one, two = register(site, kind), register(site, kind)
    will = {"topic": "attributes", "payload": '{"version": "6.6.6"}', "qos": 1}
    if version == V5:
        will["properties"] = Properties(PacketTypes.WILLMESSAGE)
        will["properties"].UserProperty = [("username", two)]
    name = site.name("taken")
    old = Client(site, one, will=will, client_id=name, version=version).connected()
    old.c.loop_stop()  # it does not come back
    new = Client(site, one, client_id=name, version=version).connected()
    new.publish("attributes", {"version": "1.0.0"})
    wait(lambda: site.otad.ok("GET", f"/devices/{one}")["versions"], "its word arrives")
    assert site.otad.ok("GET", f"/devices/{one}")["versions"]["main"]["version"] == "1.0.0"
    assert not site.otad.ok("GET", f"/devices/{two}")["versions"]
    assert "no_identity" not in site.otad.logs()
    assert online(site, one) is True


def test_a_device_does_not_get_otads_connections(site):
    """Nor what waits for otad, while that is too busy to take it."""
    one, two = register(site), register(site)
    c = Client(site, one).connected()
    connects = site.otad.metric("otad_mqtt_connects_total")
    site.otad.process.send(signal.SIGSTOP)
    try:
        c.publish("attributes", {"version": "1.0.0"})
        for client_id in ("otad", "otad-tx"):
            for version in (V3, V5):
                assert refused(site, two, client_id, version), client_id
    finally:
        site.otad.process.send(signal.SIGCONT)
    wait(lambda: site.otad.ok("GET", f"/devices/{one}")["versions"], "what waited arrives")
    assert site.otad.metric("otad_mqtt_connects_total") == connects
    said = site.broker.log.read_text()
    assert f"{two} is refused: client id 'otad' is otad's" in said


def test_what_waits_for_an_otad_that_is_away(make_site):
    """Also in a broker that was started meanwhile, and knows otad only by its options."""
    site = make_site(plugin=True, persistent=True)
    one, two = register(site), register(site)
    c = Client(site, one).connected()
    wait(lambda: "plugin is there" in site.otad.logs(), "otad hears the plugin")
    site.otad.stop()
    c.publish("attributes", {"version": "1.0.0"})
    assert refused(site, two, "otad")
    site.broker.restart()
    hup(site)
    for client_id in ("otad", "otad-tx"):
        assert refused(site, two, client_id)
    site.otad.start()
    wait(lambda: site.otad.ok("GET", f"/devices/{one}")["versions"], "what waited arrives")


def test_another_name_of_otad(make_site):
    """Which the plugin is told; otherwise it learns it from otad, who may always have it."""
    site = make_site({"mqtt.client_id": "house"}, plugin=True)
    one = register(site)
    wait(lambda: " as house-tx " in site.broker.log.read_text(), "both connections are there")
    assert refused(site, one, "house") and refused(site, one, "house-tx")
    site.otad.stop()
    assert refused(site, one, "house"), "what waits for it is kept"
    site.broker.restart()
    thief = Client(site, one, client_id="house").connected()
    site.otad.start()
    wait(lambda: thief.downs and thief.refused, "otad takes its name back")
    thief.close()
    site.otad.stop()
    site.broker.stop()
    with site.broker.conf.open("a") as f:
        f.write("plugin_opt_service_client_id house\n")
    site.broker.start()
    assert refused(site, one, "house") and refused(site, one, "house-tx")
    assert not refused(site, one, "otad")
    site.otad.start()


def test_a_client_id_is_one_devices(site):
    one, two = register(site), register(site)
    name = site.name("id")
    c = Client(site, one, client_id=name).connected()
    for version in (V3, V5):
        assert refused(site, two, name, version)
    c.publish("attributes", {"version": "1.0.0"})
    assert c.downs == 0, "nobody took its place"
    assert f"{two} is refused: client id '{name}' is {one}'s" in site.broker.log.read_text()
    c.close()
    wait(lambda: online(site, one) is False, "it is gone")
    Client(site, two, client_id=name).connected()  # it left nothing that is kept


def test_a_session_that_is_kept_is_one_devices(site):
    one, two = register(site), register(site)
    name = site.name("kept")
    k = Keeper(site, one, name).come()
    k.subscribe(f"command_send/{one}")
    k.go()
    wait(lambda: online(site, one) is False, "it is away")
    assert refused(site, two, name)
    # its own login may have it, and disabled or deleted it holds nothing
    k.come()
    wait(lambda: online(site, one) is True, "it is back")
    k.go()
    wait(lambda: online(site, one) is False, "it is away")
    site.otad.ok("PATCH", f"/devices/{one}", {"enabled": False})
    Client(site, two, client_id=name).connected()


def test_the_name_of_a_device_is_no_other_ones_client_id(site):
    """Also while it never was there."""
    one, two = register(site), register(site)
    for version in (V3, V5):
        assert refused(site, two, one, version)
    assert f"{two} is refused: client id '{one}' is {one}'s" in site.broker.log.read_text()
    Client(site, one, client_id=one).connected()
    gone = register(site)
    assert site.otad.rest("DELETE", f"/devices/{gone}").status == 204
    Client(site, two, client_id=gone).connected()


def test_whose_sessions_are_on_the_disk(make_site):
    """A broker that was started since knows them by its next reload, and devices' names at once."""
    site = make_site(plugin=True, persistent=True)
    wait(lambda: "plugin is there" in site.otad.logs(), "otad hears the plugin")
    one, two = register(site), register(site)
    keepers = [Keeper(site, one, name).come() for name in ("kept", one)]
    for k in keepers:
        k.subscribe(f"attributes_push/{one}")
        k.go()
    wait(lambda: online(site, one) is False, "it is away")
    site.broker.restart()
    Client(site, two).connected().close()
    assert refused(site, two, one)
    hup(site)
    assert refused(site, two, "kept")
    wait(lambda: online(site, two) is False, "otad is back")
    keepers[0].come()
    wait(lambda: online(site, one) is True, "its own login may have it")
    keepers[0].go()


def test_a_reload_of_the_broker_makes_nobody_online(site):
    """It asks again about each session, also of those who are away."""
    kind = site.type()
    key, other, gone = register(site, kind), register(site), register(site)
    keepers = [Keeper(site, k, site.name("kept")).come() for k in (key, gone)]
    for k, name in zip(keepers, (key, gone)):
        k.subscribe(f"attributes_push/{name}")
        k.c.publish(f"attributes/{name}", '{"version": "1.0.0"}', 1).wait_for_publish()
        wait(lambda n=name: site.otad.ok("GET", f"/devices/{n}")["versions"], "the report is taken")
        k.go()
    wait(lambda: online(site, key) is False and online(site, gone) is False, "they are away")
    assert site.otad.rest("DELETE", f"/devices/{gone}").status == 204
    for _ in range(2):
        hup(site)
    Client(site, other).connected()
    wait(lambda: online(site, other) is True, "what was told before is known")
    assert online(site, key) is False
    action = {"kind": "attributes_push", "attributes": {"led": "on"}}
    task = site.otad.ok("POST", "/tasks",
                        {"name": "t", "action": action, "target": {"device_type": kind}})  # fmt: skip
    assert site.otad.rest("POST", f"/tasks/{task['id']}/run", {}).status == 202
    runs = f"/tasks/{task['id']}/runs"
    run = wait(lambda: next((r for r in site.otad.ok("GET", runs)["items"] if r["counts"]), None),
               "the run counts")  # fmt: skip
    assert [c["result"] for c in run["counts"]] == ["pending_offline"]
    # its session is still there, and is entered with its password alone
    keepers[0].come()
    wait(lambda: online(site, key) is True, "it is back")
    assert keepers[0].c.is_connected()
    keepers[0].go()


@pytest.mark.parametrize("version", [V3, V5])
def test_a_device_leaves_nothing_retained(site, version):
    """The broker would keep it in memory, as many topics as the device thinks of."""
    one = register(site)
    c = Client(site, one, version=version).connected()
    topics = [f"data/{one}/{i}" for i in range(3)] + ["event/report/1", f"attributes/{one}"]
    for topic in topics:
        for qos in (0, 1, 2):
            wait(c.c.publish(topic, '{"x": 1}', qos, retain=True).is_published, "published")
    s = Client(site, *SERVICE).connected()
    s.subscribe("data/#", "event/#", "attributes/+")
    c.publish(f"data/{one}/last", {"x": 2})
    assert s.next() == (f"data/{one}/last", {"x": 2})
    # otad's own login may leave something
    s.c.publish("house/notice", "1", 1, retain=True).wait_for_publish()
    t = Client(site, *SERVICE).connected()
    t.subscribe("house/notice")
    assert t.next() == ("house/notice", 1) and t.message.retain
    s.c.publish("house/notice", None, 1, retain=True).wait_for_publish()
