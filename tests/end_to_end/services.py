"""Verifier services as real processes."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import requests
from eth_account import Account
from eth_account.signers.local import LocalAccount

from tests.end_to_end.node import ROOT, free_port, wait_for

PASSWORD = "correct horse"


class Verifier:
    """An operator's machine: a folder with keys, seed and configuration, and a process to start and kill."""

    def __init__(self, name: str, folder: Path, operator: LocalAccount) -> None:
        self.name = name
        self.folder = folder
        self.operator = operator
        self.mirror_port = free_port()
        self.health_port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.may_end = False
        self.dry = False  # whether it runs without its key
        self.reaches_host = True
        self.confirmations = 0
        folder.mkdir(parents=True)
        self._secret("seed", secrets.token_hex(32))
        self._secret("password", PASSWORD)
        self.use_key(operator)

    @property
    def endpoint(self) -> str:
        """The URL of the mirror, which the stake publishes."""
        return f"http://127.0.0.1:{self.mirror_port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def configure(self, rpc_url: str, chain_id: int, bounties: str, hosts: list[str], confirmations: int = 0) -> None:
        """Write the service's configuration file."""
        key = 'keystore = "operator.json"\npassword_file = "password"'
        if self.dry:
            key = f'address = "{self.operator.address}"'
        (self.folder / "service.toml").write_text(
            f"""
            data = "data"
            [chain]
            rpc_url = "{rpc_url}"
            chain_id = {chain_id}
            bounties = "{bounties}"
            confirmations = {confirmations}
            poll_s = 0.25
            timeout_s = 2.0
            [operator]
            seed_file = "seed"
            {key}
            [store]
            allow_hosts = {json.dumps(hosts)}
            timeout_s = 5.0
            [mirror]
            port = {self.mirror_port}
            [health]
            port = {self.health_port}
            [sandbox]
            attempts = 2
            retry_pause_s = 0.5
            [duties]
            stagger_s = 0.3
            fetch_pause_s = 0.5
            [fees]
            stuck_s = 5.0
            [log]
            format = "json"
            """
        )

    def use_key(self, operator: LocalAccount) -> None:
        """Use another operator key from the next start."""
        self.operator = operator
        # A weak key derivation is enough, because the keys have no value, and scrypt takes a second.
        keystore = Account.encrypt(operator.key, PASSWORD, kdf="pbkdf2", iterations=1)
        (self.folder / "operator.json").write_text(json.dumps(keystore))

    def start(self, hook: str | None = None) -> None:
        """Start `touchstone run`; with a hook, start it in a process that misbehaves as defined in hooks.py."""
        self.may_end = hook is not None and hook.startswith("die")
        entry = ["-m", "tests.end_to_end.hooks", hook] if hook else ["-c", "from verifier.cli.main import main; main()"]
        command = [sys.executable, *entry, "run", "--config", str(self.folder / "service.toml")]
        with (self.folder / "log.jsonl").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def assert_alive(self) -> None:
        """Fail with the end of the log when the process has ended unexpectedly."""
        ended = self.process is not None and not self.may_end and self.process.poll() is not None
        assert not ended, f"{self.name} ended: " + "\n".join(str(line) for line in self.log()[-8:])

    def kill(self) -> None:
        """Kill the process with SIGKILL, as a power failure would end it."""
        self.may_end = True
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        self.wait()

    def stop(self) -> int:
        """Stop the process with SIGTERM; returns the exit status."""
        assert self.process is not None
        self.may_end = True
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)

    def wait(self, timeout_s: float = 60.0) -> int | None:
        """Wait until the process has ended; returns the exit status."""
        return self.process.wait(timeout=timeout_s) if self.process is not None else None

    def log(self) -> list[dict[str, Any]]:
        """Read the log; a line that is not JSON (a traceback) becomes {"raw": line}."""
        file = self.folder / "log.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) if line.startswith("{") else {"raw": line} for line in lines]

    def wait_for_log(self, text: str, timeout_s: float = 40.0) -> dict[str, Any]:
        """Wait until a line of the log contains `text`."""

        def found() -> dict[str, Any] | None:
            return next((line for line in self.log() if text in json.dumps(line)), None)

        line: dict[str, Any] = wait_for(found, f"{self.name} logs {text!r}", timeout_s)
        return line

    def health(self) -> dict[str, Any]:
        """Read /health; returns its fields and the HTTP status."""
        answer = requests.get(f"http://127.0.0.1:{self.health_port}/health", timeout=10)
        return {"status_code": answer.status_code, **answer.json()}

    def journal(self, query: str) -> list[Any]:
        """Stop the service and query its journal; returns the rows."""
        self.kill()
        with closing(sqlite3.connect(self.data / "journal.sqlite")) as journal:
            return journal.execute(query).fetchall()

    def _secret(self, name: str, text: str) -> None:
        descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(descriptor, text.encode())
        os.close(descriptor)
