"""A process that judges node tests one after another, so that a crash or a hang costs one row of the table."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection
from types import TracebackType

from tests.onnx_nodes.cases import NodeCase
from tests.onnx_nodes.judge import Outcome, Result, judge

# Seconds that one test may take, the start of its process included. A process starts in three seconds, in ten on a busy
# machine, and the slowest test takes less than one.
LIMIT_S = 60.0

_CONTEXT = multiprocessing.get_context("spawn")


class Worker:
    """One process at a time, restarted after a crash or a hang."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def judge(self, case: NodeCase) -> Result:
        """Judge one test in the process. The outcome is CRASHED when the process dies or misses the time limit."""
        if self._connection is None:
            self._start()
        assert self._connection is not None
        start = time.monotonic()
        try:
            self._connection.send(case)
            if self._connection.poll(self._limit_s):
                result: Result = self._connection.recv()
                return dataclasses.replace(result, seconds=round(time.monotonic() - start, 3))
            fault = f"no result within {self._limit_s:g} seconds"
        except (EOFError, OSError):
            assert self._process is not None
            self._process.join(self._limit_s)
            fault = f"its process ended with exit status {self._process.exitcode}"
        self._stop()
        return Result(case.name, case.operator, Outcome.CRASHED, fault, seconds=round(time.monotonic() - start, 3))

    def _start(self) -> None:
        self._connection, other = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()

    def _stop(self) -> None:
        if self._process is not None and self._connection is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
        self._process = self._connection = None


def _serve(connection: Connection) -> None:
    """Judge the tests that are sent until the other end closes."""
    # onnxruntime also logs why it cannot load a model, which is part of the refusal's message.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    while True:
        try:
            case: NodeCase = connection.recv()
        except EOFError:
            return
        connection.send(judge(case))
