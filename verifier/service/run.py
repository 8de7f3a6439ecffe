"""Builds a service from its configuration and runs it until it is told to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from eth_account.signers.local import LocalAccount

from verifier.artifacts.serve import RateLimit, artifacts_app
from verifier.artifacts.store import Store
from verifier.chain.client import Client
from verifier.chain.contracts import Contracts
from verifier.chain.errors import ChainError, WrongChain
from verifier.chain.events import EventIndex
from verifier.chain.transactions import FeePolicy, Sender
from verifier.execution.sandbox import Sandbox
from verifier.service import keys, votes
from verifier.service.actions import Actions
from verifier.service.config import Config
from verifier.service.errors import Retry, Stop
from verifier.service.evaluations import Evaluations
from verifier.service.files import Files
from verifier.service.health import Servers, Status, operator_app
from verifier.service.jobs import Jobs
from verifier.service.journal import Journal
from verifier.service.logs import Decisions, Logger
from verifier.service.metrics import Metrics
from verifier.service.progress import Bars
from verifier.service.tick import Service

NOBODY = "0x0000000000000000000000000000000000000000"
FETCHES_AT_ONCE = 16  # they mostly wait, and a stranger's slow host must not keep others waiting
LONGEST_PAUSE_S = 60.0  # between ticks while the node is away


class Clock:
    """The loop's pause: ends when time is up, when a job has finished or when the process is told to stop."""

    def __init__(self) -> None:
        self._woken = threading.Event()
        self.stopping = False

    def wake(self) -> None:
        self._woken.set()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: finish the tick under way, then end."""
        self.stopping = True
        self._woken.set()

    def pause(self, seconds: float) -> None:
        self._woken.wait(seconds)
        self._woken.clear()


def open_account(config: Config) -> LocalAccount | None:
    """The operator's key, or None for a dry run. Errors: Stop."""
    if config.operator.keystore is None:
        return None
    account = keys.unlock(config.operator.keystore, config.operator.password_file)
    if config.operator.address not in (None, account.address):
        raise Stop(f"the keystore is of {account.address}, operator.address says {config.operator.address}")
    return account


def connect(config: Config) -> tuple[Client, Contracts]:
    """Find chain and contracts. Errors: ChainError (the node is away), Stop (it is the wrong one)."""
    client = Client(config.chain.rpc_url, config.chain.timeout_s)
    try:
        chain_id = client.chain_id()
        if chain_id != config.chain.chain_id:
            raise WrongChain(f"the node serves chain {chain_id}, the configuration says {config.chain.chain_id}")
        return client, Contracts.connect(client, config.chain.bounties)
    except WrongChain as error:
        raise Stop(str(error)) from error


def _connect_patiently(config: Config, clock: Clock, logger: Logger) -> tuple[Client, Contracts] | None:
    pause = config.chain.poll_s
    while not clock.stopping:
        try:
            return connect(config)
        except ChainError as error:
            logger.warning("waits for the node", reason=str(error), pause_s=pause)
            clock.pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
    return None


@contextmanager
def build(config: Config, client: Client, contracts: Contracts, clock: Clock, logger: Logger) -> Iterator[Service]:
    """Everything a tick needs, opened; closed again at the end. Errors: Stop."""
    account = open_account(config)
    operator = account.address if account else (config.operator.address or NOBODY)
    seed = votes.load_seed(config.operator.seed_file)
    chain_id = config.chain.chain_id
    panel = contracts.panel.address
    metrics = Metrics()
    decisions = Decisions(logger)
    status = Status(started_at=time.time(), stale_after_s=max(60.0, 10 * config.chain.poll_s))
    with ExitStack() as stack:
        journal = Journal(config.data / "journal.sqlite", chain_id, panel)
        stack.callback(journal.close)
        bars = stack.enter_context(Bars())
        fees = FeePolicy(config.fees.max_fee, config.fees.stuck_s)
        sender = Sender(client, account, chain_id, journal, fees) if account else None
        files = Files(Store(config.data / "artifacts"), config, Jobs(FETCHES_AT_ONCE, clock.wake), journal, metrics)
        evaluations = Evaluations(
            chain_id,
            panel,
            journal,
            files,
            Jobs(1, clock.wake),
            Sandbox(config.sandbox.limits()),
            config.sandbox,
            config.data / "work",
            metrics,
            bars.evaluation,
            logger,
        )
        actions = Actions(contracts, chain_id, operator, sender, journal, files, evaluations, seed, config)
        servers = Servers()
        stack.callback(servers.close)
        health_port = servers.listen(operator_app(status, metrics), config.health.host, config.health.port)
        mirror = artifacts_app(
            files.served,
            RateLimit(config.mirror.requests_per_minute),
            lambda status_code: metrics.served.labels(str(status_code)).inc(),
        )
        mirror_port = servers.listen(mirror, config.mirror.host, config.mirror.port)
        logger.info(
            "running", operator=operator, dry_run=account is None, health_port=health_port, mirror_port=mirror_port
        )
        yield Service(
            client=client,
            contracts=contracts,
            index=EventIndex(
                client,
                [contracts.stakes, contracts.panel, contracts.bounties],
                config.chain.from_block,
                config.chain.log_span,
            ),
            files=files,
            actions=actions,
            sender=sender,
            operator=operator,
            confirmations=config.chain.confirmations,
            status=status,
            metrics=metrics,
            decisions=decisions,
            logger=logger,
        )


def loop(service: Service, clock: Clock, poll_s: float) -> None:
    """Tick until told to stop. A node that is away is asked again, less and less often."""
    pause = poll_s
    while not clock.stopping:
        try:
            service.tick()
        except ChainError as error:
            service.trouble("node", f"waits for the node: {error}")
            pause = min(2 * pause, LONGEST_PAUSE_S)
        except Retry as error:
            service.trouble("machine", str(error))
            pause = min(2 * pause, LONGEST_PAUSE_S)
        else:
            pause = poll_s
        clock.pause(pause)


def run(config: Config, logger: Logger) -> None:
    """The service, from start to SIGTERM or SIGINT. Errors: Stop."""
    clock = Clock()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, clock.stop)
    from verifier.exact import self_test  # late: it loads onnxruntime

    # The vectors tell whether this machine rounds as the arithmetic demands: else nothing may be signed on it.
    self_test()
    logger.info("self-test passed", pid=os.getpid())
    connected = _connect_patiently(config, clock, logger)
    if connected is not None:
        with build(config, *connected, clock, logger) as service:
            loop(service, clock, config.chain.poll_s)
    logger.info("stopped")
