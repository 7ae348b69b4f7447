#!/usr/bin/python3
"""Writes zones.txt from Python's zoneinfo: lines `zone u <utc> <offset>` and `zone l <wall> <utc>`.

Wall times are seconds since 1970-01-01 00:00 there; one that comes twice is the first, one that
never comes is the first instant after the gap.
"""
import datetime
import pathlib
import random
import zoneinfo

UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1)
ZONES = """UTC Asia/Shanghai America/New_York Australia/Lord_Howe Africa/Casablanca Europe/Dublin
Europe/Berlin America/Sao_Paulo Pacific/Apia Pacific/Kwajalein Asia/Kathmandu Asia/Gaza Asia/Tehran
America/Nuuk Antarctica/Troll Pacific/Chatham Europe/London Africa/Cairo America/Havana
Asia/Kolkata""".split()
RULED = {"America/New_York", "Australia/Lord_Howe", "Europe/Dublin", "Europe/Berlin",
         "Pacific/Chatham", "Asia/Shanghai", "Antarctica/Troll"}  # fmt: skip


def offset(zone, utc):
    at = datetime.datetime.fromtimestamp(utc, UTC).astimezone(zone)
    return int(at.utcoffset().total_seconds())


def changes(zone, since, until):
    """Instants at which the offset changes, by halving."""
    step = 7 * 86400
    for a in range(since, until, step):
        at, end = a, a + step
        while offset(zone, at) != offset(zone, end) or any(
            offset(zone, x) != offset(zone, at) for x in range(at, end, 86400)
        ):
            lo = at
            hi = next(x for x in [*range(at, end, 3600), end] if offset(zone, x) != offset(zone, at))
            while hi - lo > 1:
                mid = (lo + hi) // 2
                if offset(zone, mid) == offset(zone, at):
                    lo = mid
                else:
                    hi = mid
            yield hi
            at = hi


def instant(zone, wall):
    """The first utc with utc + offset(utc) >= wall, and not in a repeat."""
    lo = wall - 27 * 3600
    best = None
    for off in sorted({offset(zone, x) for x in range(lo, wall + 27 * 3600, 900)}, reverse=True):
        if offset(zone, wall - off) == off:
            best = wall - off if best is None else min(best, wall - off)
    if best is not None:
        return best
    for t in range(lo, wall + 27 * 3600, 60):
        if t + offset(zone, t) > wall:
            while t - 1 + offset(zone, t - 1) > wall:
                t -= 1
            return t


def year(y):
    return int((datetime.datetime(y, 1, 1) - EPOCH).total_seconds())


def main():
    rand = random.Random(1)
    out = []
    for name in ZONES:
        zone = zoneinfo.ZoneInfo(name)
        spans = [(1990, 2024)] + ([(2045, 2047), (2096, 2098)] if name in RULED else [])
        for first, last in spans:
            a, b = year(first), year(last)
            times = {rand.randrange(a, b) for _ in range(12)}
            walls = {rand.randrange(a, b) for _ in range(4)}
            for t in changes(zone, a, b - 8 * 86400):
                times |= {t - 1, t, t + 1}
                before, after = offset(zone, t - 1), offset(zone, t)
                lo, hi = sorted((t + before, t + after))
                if rand.random() < 0.4:
                    walls |= {lo - 1, lo, (lo + hi) // 2, hi - 1, hi}
            out += [f"{name} u {t} {offset(zone, t)}" for t in sorted(times)]
            out += [f"{name} l {w} {instant(zone, w)}" for w in sorted(walls)]
    pathlib.Path(__file__).with_name("zones.txt").write_text("\n".join(out) + "\n")


main()
