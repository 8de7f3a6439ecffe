"""What Prometheus can read from the service."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Every metric with its name and its help text. Each instance has a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"touchstone_{name}", text, labels, registry=self.registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"touchstone_{name}", text, labels, registry=self.registry)

        self.last_tick = gauge(
            "last_tick_timestamp_seconds",
            "Unix time at which the last complete tick ended; if it stops growing, read `problem` at /health",
        )
        self.head = gauge("head_block", "Number of the newest block that the node reported")
        self.confirmed = gauge("confirmed_block", "Number of the block at which the last tick read the contracts")
        self.tasks = gauge("tasks", "Tasks in which this operator may still have a duty")
        self.duties = gauge(
            "duties",
            "Duties of the last tick, by kind and by what became of them: done, sent, waiting, skipped",
            "kind",
            "state",
        )
        self.balance = gauge(
            "balance_wei", "Native balance of the operator in wei; at 0 it cannot pay gas and its seats fall silent"
        )
        self.stake = gauge("stake_wei", "Stake in wei of the seats that the operator acts for")
        self.seats = gauge("seats", "Number of seats that the operator acts for")
        self.stored = gauge("stored_bytes", "Bytes in the artifact store; nothing is fetched beyond store.max_bytes")
        self.ticks = counter(
            "ticks", "Ticks by outcome: complete, or ended early because of the node or of this machine", "outcome"
        )
        self.transactions = counter(
            "transactions",
            "Changes of transactions by kind of duty and new state; reverted and lost ones need a look at the log",
            "kind",
            "outcome",
        )
        self.gas = counter("gas_used", "Gas used by mined transactions, by kind of duty", "kind")
        self.fetches = counter(
            "fetches",
            "Fetches of artifacts by outcome: fetched or failed; the log names the host and the reason",
            "outcome",
        )
        self.served = counter("artifacts_served", "Requests to the mirror by HTTP status", "status")
        self.evaluation = Histogram(
            "touchstone_evaluation_seconds",
            "Wall-clock seconds of complete evaluations",
            buckets=(1, 5, 15, 60, 300, 900, 3600, 14400),
            registry=self.registry,
        )
        self.evaluation_failures = counter(
            "evaluation_failures",
            "Runs of evaluations that failed; after sandbox.attempts of them the service abstains from that task",
        )

    def page(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)
