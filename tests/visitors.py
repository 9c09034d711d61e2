"""The page of app.py in a process of its own, and visitors who talk to it as its script in a browser does."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tiny_audio_diffusion import command


@dataclass
class Server:
    address: str
    folder: Path  # its temporary folder, and nothing else's
    log: Path
    process: subprocess.Popen[bytes]


@contextmanager
def serving(model: Path, folder: Path, *settings: str) -> Iterator[Server]:
    """The page with a model until the end of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temporary, log = folder / "temporary", folder / "app.log"
    temporary.mkdir(parents=True)
    asked = [f"ckpt={model}", f"port={port}", "device=cpu", "hub=false", f"logs_dir={folder / 'logs'}", *settings]
    environment = {"OMP_NUM_THREADS": "1", "TMPDIR": str(temporary), "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(command.ROOT / "app.py"), *asked],
            cwd=folder,
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Server(f"http://127.0.0.1:{port}", temporary, log, process)
    try:
        _wait(server)
        yield server
    finally:
        process.send_signal(2)  # as Ctrl-C does
        process.wait(timeout=30)


def _wait(server: Server) -> None:
    for _ in range(600):
        if server.process.poll() is not None:
            break
        if "Running on" in server.log.read_text(errors="replace"):
            return
        time.sleep(0.1)
    raise AssertionError(server.log.read_text(errors="replace"))


class Visitor:
    """One open page."""

    def __init__(self, server: Server):
        self.server, self.key = server, secrets.token_hex(8)
        self.client = httpx.Client(base_url=server.address, timeout=60, trust_env=False)
        config = self.client.get("/config").json()
        self.parts = {part["id"]: part for part in config["components"]}
        self.names = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
        self.events = config["dependencies"]

    def close(self) -> None:
        self.client.close()

    def event(self, name: str, kind: str) -> dict[str, Any]:
        """What the page calls when something happens to a part of it."""
        part = next(identity for identity, each in self.names.items() if each == name)
        events = [each for each in self.events if [part, kind] in [list(target) for target in each["targets"]]]
        return next(each for each in events if each["backend_fn"])

    def values(self, event: dict[str, Any], **given: Any) -> list[Any]:
        """What the fields hold, but for what is given: a name such as `count` is a field's on the page."""
        return [
            given.get(self.names[identity] or "task", self.parts[identity]["props"].get("value"))
            for identity in event["inputs"]
        ]

    def ask(self, name: str, kind: str = "click", event: dict[str, Any] | None = None, **given: Any) -> list[Any]:
        """Let something happen; returns what the page is shown in the end."""
        called = self.event(name, kind)
        body = {"data": self.values(called, **given), "fn_index": called["id"], "event_data": event}
        return self.send(body | {"session_hash": self.key})

    def send(self, body: dict[str, Any]) -> list[Any]:
        """Queue a request and wait for its last word."""
        answer = self.client.post("/gradio_api/queue/join", json=body)
        answer.raise_for_status()
        shown: list[Any] = []
        event = answer.json()["event_id"]
        with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.key}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line[6:]) if line.startswith("data: ") else {}
                ours = message.get("event_id") == event
                if ours and message.get("msg") == "process_completed":
                    shown = (message.get("output") or {}).get("data") or []
                if (ours and message["msg"] == "process_completed") or message.get("msg") == "close_stream":
                    break
        return shown

    def upload(self, content: bytes, name: str = "sound.wav") -> dict[str, Any]:
        """A file as the page hands it on afterwards."""
        answer = self.client.post("/gradio_api/upload", files={"files": (name, content)})
        answer.raise_for_status()
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}, "orig_name": name}
