"""A real local chain in its own process, whose time the tests control."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint

ROOT = Path(__file__).resolve().parents[2]


def find_anvil() -> str | None:
    """Find anvil on PATH or where npm installs it in this folder (`npm install @foundry-rs/anvil`); None if missing.

    npm puts a script on PATH that starts the binary. Killing or pausing that script leaves the chain running, so this
    function returns the path of the binary.
    """
    found = shutil.which("anvil") or shutil.which("anvil", path=str(ROOT / "node_modules" / ".bin"))
    if found is None or Path(found).resolve().suffix != ".mjs":
        return found
    return str(next(Path(found).resolve().parents[1].glob("anvil-*/bin/anvil"), found))


def free_port() -> int:
    """Find a free port, below the range from which the system assigns ports to outgoing connections."""
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Anvil:
    """An anvil process that mines every transaction at once, and an empty block every second."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.w3 = Web3(HTTPProvider(self.url, request_kwargs={"timeout": 10}))

    def start(self) -> None:
        command = [find_anvil() or "anvil", "--port", str(self.port), "--silent", "--block-time", "1", "--mixed-mining"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.w3.is_connected, "anvil answers", timeout_s=20)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Pause the node: it accepts no connections."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def request(self, method: str, *parameters: Any) -> Any:
        """Send one JSON-RPC request; fails the test on an error."""
        answer = self.w3.provider.make_request(RPCEndpoint(method), list(parameters))
        assert "error" not in answer, answer
        return answer.get("result")

    def now(self) -> int:
        """The timestamp of the newest block, seconds."""
        return int(self.w3.eth.get_block("latest")["timestamp"])

    def advance_to(self, timestamp: int) -> None:
        """Advance the chain's clock to that second and mine a block."""
        ahead = timestamp - self.now()
        if ahead > 0:
            self.request("evm_increaseTime", ahead)
            self.request("evm_mine")
        assert self.now() >= timestamp

    def mine(self, blocks: int) -> None:
        self.request("anvil_mine", hex(blocks))

    def fund(self, address: str, wei: int) -> None:
        self.request("anvil_setBalance", address, hex(wei))


def wait_for(condition: Any, what: str, timeout_s: float = 40.0, pause_s: float = 0.05) -> Any:
    """Poll until `condition()` is truthy and return its value; fails with `what` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"still waiting after {timeout_s} s: {what}"
        time.sleep(pause_s)
