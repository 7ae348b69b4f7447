"""Some hundreds of stock MQTT clients on one thread, each a device with a login of its own
and a session that the broker keeps."""
import json
import selectors
import threading
import time

import paho.mqtt.client as paho

from otalib import wait


class Member:
    def __init__(self, swarm, key):
        self.key, self.got, self.up, self.retry_at = key, [], False, 0.0
        kw = {"client_id": key, "clean_session": False}
        if hasattr(paho, "CallbackAPIVersion"):  # paho 2
            kw["callback_api_version"] = paho.CallbackAPIVersion.VERSION1
        self.client = paho.Client(**kw)
        self.client.username_pw_set(key, f"secret-of-{key}")
        self.client.on_connect = lambda c, _d, _f, rc: rc or c.subscribe(f"command_send/{key}", 1)
        self.client.on_subscribe = lambda *_: setattr(self, "up", True)
        self.client.on_message = lambda _c, _d, m: self.got.append(json.loads(m.payload))
        self.socket = None
        self.swarm = swarm


class Swarm:
    """Everything happens on its thread; others read, and hand over what to say."""

    def __init__(self, broker, keys):
        self.port = broker.port
        self.members = {key: Member(self, key) for key in keys}
        self.say = []
        self.acked = 0
        self.stopping = False
        self.selector = selectors.DefaultSelector()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def all_up(self):
        return all(m.up for m in self.members.values())

    def connected(self):
        wait(self.all_up, "all of the swarm are connected")
        return self

    def report(self, **attributes):
        """Every member reports; back when all of it is acknowledged."""
        before = self.acked
        self.say.append(json.dumps(attributes))
        wait(lambda: self.acked >= before + len(self.members), "all reports are acknowledged")

    def got(self, method):
        """key -> what came with that method."""
        return {key: [g for g in list(m.got) if g["method"] == method]
                for key, m in self.members.items()}  # fmt: skip

    def close(self):
        self.stopping = True
        self.thread.join(60)

    # ---- its thread ----
    def _run(self):
        for m in self.members.values():
            m.client.on_publish = self._on_ack
        while not self.stopping:
            for m in self.members.values():
                if m.socket is None and time.monotonic() >= m.retry_at:
                    self._connect(m)
            if self.say and self.all_up():
                text = self.say.pop(0)
                for m in self.members.values():
                    m.client.publish(f"attributes/{m.key}", text, 1)
            self._write()
            for key, _events in self.selector.select(0.02):
                self._step(key.data, key.data.client.loop_read())
        for m in self.members.values():
            m.client.disconnect()
            self._drop(m)
        self.selector.close()

    def _on_ack(self, *_):
        self.acked += 1

    def _connect(self, m):
        m.retry_at = time.monotonic() + 0.3
        try:
            m.client.connect("127.0.0.1", self.port)
        except OSError:
            return
        m.socket = m.client.socket()
        self.selector.register(m.socket, selectors.EVENT_READ, m)

    def _write(self):
        for m in self.members.values():
            if m.socket is not None and m.client.want_write():
                self._step(m, m.client.loop_write())

    def _step(self, m, rc):
        if m.socket is not None and (rc != paho.MQTT_ERR_SUCCESS or m.client.socket() is None):
            self._drop(m)

    def _drop(self, m):
        if m.socket is None:
            return
        self.selector.unregister(m.socket)
        m.socket, m.up = None, False
