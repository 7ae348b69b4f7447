"""Twenty thousand QoS 1 checks at once through a broker with stock queue settings: none lost."""
import signal

from otalib import wait

DEVICES, EACH = 20, 1000


def test_burst_of_20000_checks(site):
    """The broker queues them all while otad stands still. Without a raised Receive Maximum a
    stock mosquitto keeps 1,000 and drops the rest in silence."""
    otad = site.otad
    kind = site.type()
    otad.firmware(kind, "2.0")
    devices = [site.device(kind, "1.0") for _ in range(DEVICES)]
    for device in devices:
        device.offer()
    before = otad.metric("otad_ota_checks_total")
    connects = otad.metric("otad_mqtt_connects_total")
    otad.process.send(signal.SIGSTOP)
    try:
        sent = [
            device.publish("event_report", {"method": "otaCheck", "params": {}}, wait_ack=False)
            for _ in range(EACH)
            for device in devices
        ]
        for info in sent:
            wait(info.is_published, "the broker acknowledges each check", 120)
    finally:
        otad.process.send(signal.SIGCONT)
    wait(lambda: otad.metric("otad_ota_checks_total") >= before + DEVICES * EACH,
         "every check is handled", 120)  # fmt: skip
    if otad.metric("otad_mqtt_connects_total") == connects:
        assert otad.metric("otad_ota_checks_total") == before + DEVICES * EACH
    # acknowledged as well: nothing is left in flight
    wait(lambda: otad.metric("otad_mqtt_unacked_messages") == 0, "all are acknowledged")
    for device in devices:
        assert len(otad.updates(device.key)) == 1
    assert devices[0].offer()["params"]["version"] == "2.0"
