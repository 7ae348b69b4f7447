"""What the log says: levels by room, and the last lines when otad dies."""
import re
import signal

from otalib import ROOT, request, wait


def rooms():
    text = (ROOT / "Makefile").read_text()
    return re.search(r"^ROOMS := (.*)$", text, re.M).group(1).split() + ["daemon"]


def end_by(otad, signo):
    """Its exit status, and what it logged on its way out."""
    before = len(otad.logs())
    status = otad.stop(signo)
    return status, otad.logs()[before:]


def test_sigabrt_tells_what_it_did_last(make_site):
    site = make_site()
    kind = site.type()
    site.otad.firmware(kind, "2.0")
    device = site.device(kind, "1.0")
    token = site.otad.ok("POST", "/tokens", {"name": "n", "scope": "viewer"})["token"]
    site.otad.rest("GET", "/device-types", token=token)
    url = device.offer()["params"]["url"]
    request(site.otad.port, "GET", url[url.index("/d/"):])
    assert "level=debug" not in site.otad.logs()
    status, told = end_by(site.otad, signal.SIGABRT)
    assert status == -signal.SIGABRT
    assert re.search(r'level=error room=daemon msg="a fatal signal; .*" signal=SIGABRT\n', told), told
    for what in (
        f"room=core msg=message topic=event_report/{device.key} ",
        r"room=core msg=transaction messages=\d+ us=\d+\n",
        r"room=update msg=state update=\d+ .*to=offered",
        f"room=core msg=answer topic=command_send/{device.key} ",
        r"room=http msg=answer method=GET route=/d/\S+ status=200 us=\d+\n",
    ):
        assert re.search("time=[0-9T:.Z-]+ level=debug " + what, told), (what, told)
    for secret in (site.otad.admin, site.otad.password, f"secret-of-{device.key}", token,
                   url.split("/")[-2]):  # fmt: skip
        assert secret not in told
    # and it starts again as after any crash
    site.otad.start()
    assert site.otad.rest("GET", f"/device-types/{kind}").status == 200


def test_the_end_by_a_stop_is_short(make_site):
    site = make_site()
    status, told = end_by(site.otad, signal.SIGTERM)
    assert status == 0 and "level=debug" not in told


def test_rooms_are_reloaded(make_site):
    site = make_site({"log.rooms": "http=debug, core=warn"})
    told = site.otad.logs()
    assert "level=debug room=http" in told
    assert "level=debug room=core" not in told and "level=debug room=mqtt" not in told
    text = site.otad.conf.read_text()

    def reload(rooms):
        before = len(site.otad.logs())
        site.otad.conf.write_text(text.replace("http=debug, core=warn", rooms))
        site.otad.process.send(signal.SIGHUP)
        wait(lambda: "room=daemon" in site.otad.logs()[before:], "it is reloaded")
        return len(site.otad.logs())

    before = reload("update=debug")
    kind = site.type()
    site.otad.firmware(kind, "2.0")
    site.device(kind, "1.0").offer()
    told = site.otad.logs()[before:]
    assert "level=debug room=update msg=state" in told
    assert "level=debug room=http" not in told
    before = reload("updat=debug")
    said = [x for x in site.otad.logs().splitlines() if "stays as it was" in x][-1]
    assert re.search(r"otad\.toml:\d+: rooms: 'updat' is no room; the nearest is update", said), said
    site.device(kind, "1.0").offer()
    assert "level=debug room=update msg=state" in site.otad.logs()[before:]


def test_every_room_can_be_named(make_site):
    site = make_site(env={"OTAD_LOG_ROOMS": ",".join(f"{r}=debug" for r in rooms())})
    assert "level=debug room=core" in site.otad.logs()
