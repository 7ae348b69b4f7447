"""Mosquitto with otad's plugin: what is left of a connection that was taken over."""
import pytest
from otalib import wait
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from test_13_plugin import V3, V5, Client, online, register


@pytest.fixture(scope="module")
def module_site(tmp_path_factory):
    from conftest import Site

    site = Site(tmp_path_factory.mktemp("site"), plugin=True)
    wait(lambda: "plugin is there" in site.otad.logs(), "otad hears the plugin")
    yield site
    site.close()


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
