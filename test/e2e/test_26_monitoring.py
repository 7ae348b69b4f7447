"""Monitoring: versions of a fleet, how a campaign gets on, what devices log, exports."""
from otalib import wait


def test_versions_of_a_type(make_site):
    site = make_site()
    kind = site.type()
    devices = [site.device(kind, version=v) for v in ("1.0.0", "1.0.0", "1.1.0")]

    def counted():
        got = site.otad.ok("GET", f"/device-types/{kind}/versions")
        return {v["version"]: v["devices"] for v in got["versions"]}

    wait(lambda: counted() == {"1.0.0": 2, "1.1.0": 1}, "versions are counted")
    devices[0].report(version="1.1.0")
    wait(lambda: counted() == {"1.0.0": 1, "1.1.0": 2}, "a version moves")
    site.otad.ok("PATCH", f"/devices/{devices[1].key}", {"enabled": False})
    assert site.otad.ok("GET", f"/device-types/{kind}/versions")["disabled"] == 1
    got = site.otad.ok("GET", f"/devices/{devices[0].key}/versions")["items"]
    assert [v["version"] for v in got] == ["1.1.0", "1.0.0"]
    assert got[0]["until"] is None and got[1]["until"] == got[0]["since"]
    # A start writes the point of the hour.
    site.otad.stop()
    site.otad.start()

    def points(step):
        return site.otad.ok("GET", f"/device-types/{kind}/versions?step={step}")["points"]

    wait(lambda: points("hour") and points("day"), "there are points")
    assert points("hour")[0]["versions"] == {"1.1.0": 2}
    assert points("hour")[0]["disabled"] == 1
    assert site.otad.rest("GET", f"/device-types/{kind}/versions?step=week").status == 400
    assert site.otad.rest("GET", f"/device-types/{kind}/versions?from=today").status == 400
    assert site.otad.ok("GET", f"/device-types/{kind}/versions?from=2100-01-01T00:00:00Z")["points"] == []  # fmt: skip
    assert site.otad.rest("GET", "/device-types/none/versions").status == 404
