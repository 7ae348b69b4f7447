"""Live events, as curl has them."""
import queue
import subprocess
import threading

from otalib import ADMIN, PATIENCE


class Stream:
    """curl on /events; lines come through a queue."""

    def __init__(self, otad, query="", last=None):
        command = ["curl", "-sSN", "-H", f"Authorization: Bearer {ADMIN}",
                   f"http://127.0.0.1:{otad.port}/api/v1/events{query}"]  # fmt: skip
        if last is not None:
            command[1:1] = ["-H", f"Last-Event-ID: {last}"]
        self.p = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.events = queue.Queue()
        self.begun = threading.Event()
        threading.Thread(target=self.read, daemon=True).start()
        assert self.begun.wait(PATIENCE)

    def read(self):
        event = {}
        for line in self.p.stdout:
            self.begun.set()
            name, _, value = line.rstrip("\n").partition(": ")
            if line == "\n" and "data" in event:
                self.events.put(event)
                event = {}
            elif name in ("id", "event", "data"):
                event[name] = value

    def until(self, kind):
        """Events up to the first of that kind."""
        got = []
        while not got or got[-1]["event"] != kind:
            got.append(self.events.get(timeout=PATIENCE))
        return got

    def close(self):
        self.p.terminate()
        self.p.wait()
