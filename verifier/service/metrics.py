"""What Prometheus can ask the service, one registry per process run."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Every metric, named and explained once."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"touchstone_{name}", text, labels, registry=self.registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"touchstone_{name}", text, labels, registry=self.registry)

        self.last_tick = gauge("last_tick_timestamp_seconds", "When the last complete tick ended")
        self.head = gauge("head_block", "Newest block the node reported")
        self.confirmed = gauge("confirmed_block", "Block the last tick was pinned to")
        self.tasks = gauge("tasks", "Tasks that have not ended for this operator")
        self.duties = gauge("duties", "Duties of the last tick", "kind", "state")
        self.balance = gauge("balance_wei", "Native balance of the operator")
        self.stake = gauge("stake_wei", "Stake behind the operator's seats")
        self.seats = gauge("seats", "Seats the operator acts for")
        self.stored = gauge("stored_bytes", "Size of the artifact store")
        self.ticks = counter("ticks", "Ticks by outcome", "outcome")
        self.transactions = counter("transactions", "Transactions by duty and outcome", "kind", "outcome")
        self.gas = counter("gas_used", "Gas of mined transactions", "kind")
        self.fetches = counter("fetches", "Artifacts fetched, by outcome", "outcome")
        self.served = counter("artifacts_served", "Mirror requests by status", "status")
        self.evaluation = Histogram(
            "touchstone_evaluation_seconds",
            "Wall-clock time of complete evaluations",
            buckets=(1, 5, 15, 60, 300, 900, 3600, 14400),
            registry=self.registry,
        )
        self.evaluation_failures = counter("evaluation_failures", "Evaluations that ended without a verdict")

    def page(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)
