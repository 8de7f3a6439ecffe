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
from verifier.service.actions import ActingOperator, Actions
from verifier.service.checks import FileChecks
from verifier.service.config import Config
from verifier.service.errors import Retry, Stop
from verifier.service.evaluations import EvaluationRuns, Evaluations, Retries
from verifier.service.fetches import Fetches
from verifier.service.files import Files
from verifier.service.health import Servers, Status, operator_app
from verifier.service.jobs import Jobs
from verifier.service.journal import Journal
from verifier.service.logs import Logger
from verifier.service.progress import Bars
from verifier.service.telemetry import Telemetry
from verifier.service.tick import Service
from verifier.service.votes import PanelIdentity

# Address for which a dry run looks for duties when the configuration names none: nobody has its key.
NOBODY = "0x0000000000000000000000000000000000000000"
# Maximum number of fetches that run at once: they mostly wait for hosts, and a slow host must not delay the others.
MAX_FETCHES = 16
# Maximum number of files that are checked at once: hashing takes one core, and evaluations need the others.
MAX_CHECKS = 1
# Maximum number of evaluations that run at once: the operator sized the machine for one.
MAX_EVALUATIONS = 1
# Maximum pause in seconds between two ticks while the node does not answer: a deadline may be minutes away.
MAX_PAUSE_S = 60.0
# /health reports `stale` when the last complete tick is older than this many seconds and than STALE_TICKS pauses.
STALE_S = 60.0
STALE_TICKS = 10


def run(config: Config, logger: Logger) -> None:
    """Run the service until SIGTERM or SIGINT. Errors: Stop, SelfTestError."""
    clock = Clock()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, clock.stop)
    from verifier.exact import self_test  # imported late because it loads onnxruntime

    # The vectors show whether this machine computes exactly; if it does not, nothing may be signed on it.
    self_test()
    logger.info("self-test passed", pid=os.getpid())
    connected = _connect_patiently(config, clock, logger)
    if connected is not None:
        with build(config, *connected, clock, logger) as service:
            loop(service, clock, config.chain.poll_s)
    logger.info("stopped")


class Clock:
    """The pause between ticks. It ends when time is up, when a job has finished or when the process is to stop."""

    def __init__(self) -> None:
        self._woken = threading.Event()
        self.stopping = False

    def wake(self) -> None:
        """End the pause under way, or the next one at once."""
        self._woken.set()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: finish the tick under way, then end."""
        self.stopping = True
        self._woken.set()

    def pause(self, seconds: float) -> None:
        """Wait for that long, or until woken."""
        self._woken.wait(seconds)
        self._woken.clear()


def _connect_patiently(config: Config, clock: Clock, logger: Logger) -> tuple[Client, Contracts] | None:
    """Connect, waiting longer and longer for a node that does not answer; None when told to stop. Errors: Stop."""
    pause = config.chain.poll_s
    while not clock.stopping:
        try:
            return connect(config)
        except ChainError as error:
            logger.warning("waits for the node", reason=str(error), pause_s=pause)
            clock.pause(pause)
            pause = min(2 * pause, MAX_PAUSE_S)
    return None


def connect(config: Config) -> tuple[Client, Contracts]:
    """Find chain and contracts. Errors: ChainError when the node does not answer, Stop when it is the wrong one."""
    client = Client(config.chain.rpc_url, config.chain.timeout_s)
    try:
        chain_id = client.chain_id()
        if chain_id != config.chain.chain_id:
            raise WrongChain(f"the node serves chain {chain_id}, the configuration says {config.chain.chain_id}")
        return client, Contracts.connect(client, config.chain.bounties)
    except WrongChain as error:
        raise Stop(str(error)) from error


def open_account(config: Config) -> LocalAccount | None:
    """Return the operator's key, or None for a dry run. Errors: Stop."""
    if config.operator.keystore is None:
        return None
    account = keys.unlock(config.operator.keystore, config.operator.password_file)
    if config.operator.address not in (None, account.address):
        raise Stop(
            f"operator.keystore holds the key of {account.address}, operator.address is {config.operator.address}: "
            "name the keystore of that address, or leave operator.address out"
        )
    return account


@contextmanager
def build(config: Config, client: Client, contracts: Contracts, clock: Clock, logger: Logger) -> Iterator[Service]:
    """Open everything that a tick needs, and close it again at the end. Errors: Stop."""
    account = open_account(config)
    seed = votes.load_seed(config.operator.seed_file)
    panel = PanelIdentity(config.chain.chain_id, contracts.panel.address)
    with ExitStack() as stack:
        journal = Journal(config.data / "journal.sqlite", panel.chain_id, panel.address)
        stack.callback(journal.close)
        status = Status(started_at=time.time(), stale_after_s=max(STALE_S, STALE_TICKS * config.chain.poll_s))
        telemetry = Telemetry(logger, status, stack.enter_context(Bars()))

        fees = FeePolicy(config.fees.max_fee, config.fees.stuck_s)
        operator = ActingOperator(
            address=account.address if account else (config.operator.address or NOBODY),
            seed=seed,
            sender=Sender(client, account, panel.chain_id, journal, fees) if account else None,
        )
        store = Store(config.data / "artifacts")
        jobs = Jobs(MAX_FETCHES, clock.wake)
        fetches = Fetches(store, config.store, config.duties.fetch_pause_s, jobs, telemetry.metrics)
        checks = FileChecks(store, Jobs(MAX_CHECKS, clock.wake), telemetry)
        files = Files(store, fetches, checks, journal)
        runs = EvaluationRuns(
            Sandbox(config.sandbox.limits()),
            Jobs(MAX_EVALUATIONS, clock.wake),
            config.data / "work",
            Retries(config.sandbox.attempts, config.sandbox.retry_pause_s),
            telemetry,
        )
        actions = Actions(
            contracts=contracts,
            panel=panel,
            operator=operator,
            journal=journal,
            files=files,
            evaluations=Evaluations(panel, journal, files, runs, telemetry),
            timing=config.duties,
        )
        servers = Servers()
        stack.callback(servers.close)
        ports = _listen(servers, config, files, telemetry)
        logger.info("running", operator=operator.address, dry_run=account is None, **ports)
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
            operator=operator,
            confirmations=config.chain.confirmations,
            telemetry=telemetry,
        )


def _listen(servers: Servers, config: Config, files: Files, telemetry: Telemetry) -> dict[str, int]:
    """Open the operator's port and the public mirror; returns the ports by name. Errors: ListenError."""
    metrics = telemetry.metrics
    health = operator_app(telemetry.status, metrics)
    mirror = artifacts_app(
        files.served,
        RateLimit(config.mirror.requests_per_minute),
        lambda status_code: metrics.served.labels(str(status_code)).inc(),
    )
    return {
        "health_port": servers.listen(health, config.health.host, config.health.port),
        "mirror_port": servers.listen(mirror, config.mirror.host, config.mirror.port),
    }


def loop(service: Service, clock: Clock, poll_s: float) -> None:
    """Tick until told to stop. Errors: Stop.

    After a tick that failed because of the node or of this machine's disk, the pause before the next one is doubled.
    """
    pause = poll_s
    while not clock.stopping:
        try:
            service.tick()
        except ChainError as error:
            service.telemetry.interrupted("node", f"waits for the node: {error}")
            pause = min(2 * pause, MAX_PAUSE_S)
        except (Retry, OSError) as error:
            service.telemetry.interrupted("machine", str(error))
            pause = min(2 * pause, MAX_PAUSE_S)
        else:
            pause = poll_s
        clock.pause(pause)
