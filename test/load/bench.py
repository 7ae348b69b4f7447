#!/usr/bin/python3
"""make bench: speed and size of otad against its targets.

Starts private programs on loopback, measures each part, prints a table, writes build/bench.json.
Exit code 0 when everything could be measured (a missed target is a finding, not a failure;
--strict makes it 1), 1 when something could not, 2 for wrong usage.
"""

import argparse
import contextlib
import os
import resource
import shutil
import signal
import sys
import traceback

from lab import Lab

try:
    from parts import PARTS
    from parts_campaign import PARTS as CAMPAIGN_PARTS
    from parts_fleet import OWN_BROKER
    from parts_fleet import PARTS as FLEET_PARTS

    PARTS |= FLEET_PARTS | CAMPAIGN_PARTS
except ImportError as e:
    sys.exit(f"the benchmark needs: apt install python3-paho-mqtt ({e})")
from table import Table


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("--parts", default="".join(PARTS), help="some of " + "".join(PARTS))
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--bin", default="build", help="folder of otad and otasim")
    p.add_argument("--out", default="build/bench.json")
    p.add_argument("--doc", help="put the table into this document as well")
    p.add_argument("--keep", action="store_true", help="leave the folders of data and logs")
    p.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    args = p.parse_args()
    unknown = set(args.parts) - set(PARTS)
    if unknown or args.rounds < 1:
        p.error("parts are " + ", ".join(PARTS) + "; at least one round")
    return args


def need_tools(letters):
    need = {"mosquitto": "mosquitto", "mosquitto_sub": "mosquitto-clients", "curl": "curl"}
    if "c" in letters:
        need |= {"wrk": "wrk", "nginx": "nginx-light"}
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = sorted({package for tool, package in need.items() if not shutil.which(tool)})
    if missing:
        print("the benchmark needs: apt install " + " ".join(missing), file=sys.stderr)
        sys.exit(2)


def take_all_descriptors():
    """As many as this user may have; the brokers that are started get them too."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        if hard != resource.RLIM_INFINITY and hard < 65536:
            resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))
            return
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))


def main():
    take_all_descriptors()
    args = arguments()
    need_tools(args.parts)
    # SIGTERM must end what was started, as ^C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    table, broken = Table(), 0
    for letter in args.parts:
        run, title = PARTS[letter]
        print(f"part {letter}: {title}", flush=True)
        lab = Lab(os.path.abspath(args.bin))
        try:
            if letter not in OWN_BROKER:
                lab.broker()
            run(lab, table, args.rounds)
        except Exception as e:  # the other parts still count
            broken += 1
            traceback.print_exc()
            for process in lab.processes:
                print(f"{process.log_path}:\n{lab.log_tail(process)}", file=sys.stderr)
            table.failed(letter, str(e)[:200])
        finally:
            if args.keep:
                print("kept " + lab.dir)
                lab.close_processes()
            else:
                lab.close()
        table.save(args.out)
    missed = table.print()
    if args.doc:
        table.into_document(args.doc)
    return 1 if broken or (missed and args.strict) else 0


if __name__ == "__main__":
    sys.exit(main())
