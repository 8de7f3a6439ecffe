"""The terms of a task: options for them, the deployment's ranges, what has to be paid, and the contract's struct."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click
from ape.contracts import ContractInstance
from ethpm_types import ContractType

from scripts._chain import NATIVE, Address, Deployed, Signer
from scripts._units import Coins, Duration, coins, span
from verifier.artifacts import digests
from verifier.protocol.constants import Windows
from verifier.tasks.manifest import SCORE_BITS, Manifest

POLICIES = ("best", "ladder")  # by the number that the contract knows them by
WINDOWS = (  # in the order of Terms.windows: option, default, what happens in it
    ("commit", "7d", "solvers commit"),
    ("attest", "12h", "the committee says which files are there"),
    ("holdout", "24h", "you reveal the holdout"),
    ("reveal", "24h", "solvers reveal or decline"),
    ("verdict-commit", "6h", "verifiers evaluate and commit"),
    ("verdict-reveal", "12h", "verifiers reveal"),
)
BPS = 10_000
SCORE = click.IntRange(-(1 << SCORE_BITS) + 1, (1 << SCORE_BITS) - 1)
ERC20 = [
    {
        "type": "function",
        "name": name,
        "stateMutability": mutability,
        "inputs": [{"name": f"a{i}", "type": kind} for i, kind in enumerate(inputs)],
        "outputs": [{"name": "", "type": output}],
    }
    for name, mutability, inputs, output in (
        ("allowance", "view", ("address", "address"), "uint256"),
        ("balanceOf", "view", ("address",), "uint256"),
        ("approve", "nonpayable", ("address", "uint256"), "bool"),
    )
]


@dataclass(frozen=True)
class Terms:
    """What a sponsor chose; amounts in wei, of a token in its smallest units; windows in seconds."""

    reward: int
    token: str | None
    policy: int
    threshold: int
    baseline: int
    committee: int
    windows: Windows
    seat_fee: int
    reserve: int

    def argument(self, manifest: Manifest, holdout: bytes) -> tuple[object, ...]:
        """The struct IBounties.Terms, in its field order."""
        return (
            self.token or NATIVE,
            self.reward,
            self.policy,
            self.threshold,
            self.baseline,
            self.committee,
            list(self.windows),
            manifest.macs,
            self.seat_fee,
            self.reserve,
            manifest.digest(),
            digests.from_hex(manifest.program.digest),
            digests.from_hex(manifest.practice.digest),
            holdout,
        )


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `task create` that `choose` takes."""
    chosen = [
        click.option("--reward", type=Coins(), help="Reward in coins."),
        click.option("--token", type=Address(), help="ERC-20 token that the reward is in, instead of coins."),
        click.option("--reward-units", type=click.IntRange(1), help="Reward in the token's smallest units."),
        click.option("--threshold", type=SCORE, required=True, help="Score that a submission must reach to be paid."),
        click.option(
            "--policy",
            type=click.Choice(POLICIES),
            default="best",
            show_default=True,
            help="best: the best passing score takes all. ladder: each passing improvement takes its part.",
        ),
        click.option(
            "--baseline", type=SCORE, default=0, show_default=True, help="Score above which the ladder begins to pay."
        ),
        click.option(
            "--committee", type=click.IntRange(1), default=15, show_default=True, help="Seats drawn in the first round."
        ),
        *(
            click.option(f"--{name}-window", type=Duration(), default=default, show_default=True, help=f"While {what}.")
            for name, default, what in WINDOWS
        ),
        click.option(
            "--seat-fee", type=Coins(), help="Coins per seat and submission, paid by solvers.  [default: the least]"
        ),
        click.option(
            "--reserve",
            type=Coins(),
            default="0",
            show_default=True,
            help="Coins that pay verifiers if the first round ends without a verdict; what is not used comes back.",
        ),
    ]
    for option in reversed(chosen):
        command = option(command)
    return command


def choose(deployed: Deployed, manifest: Manifest, **chosen: Any) -> Terms:
    """Terms from the options, within what the deployment allows. Errors: UsageError, BadParameter."""
    bounties = deployed.bounties
    token, in_coins, in_units = chosen["token"], chosen["reward"], chosen["reward_units"]
    if (token is None) == (in_coins is None) or (token is None) == (in_units is not None):
        raise click.UsageError("say --reward COINS, or --token ADDRESS with --reward-units NUMBER")
    windows = Windows(*(chosen[f"{name.replace('-', '_')}_window"] for name, _, _ in WINDOWS))
    for i, (name, _, _) in enumerate(WINDOWS):
        shortest, longest = bounties.window_range(i)
        if not shortest <= windows[i] <= longest:
            raise click.BadParameter(
                f"this deployment allows {span(shortest)} to {span(longest)}", param_hint=f"--{name}-window"
            )
    fewest, most = bounties.MIN_COMMITTEE(), bounties.MAX_COMMITTEE_SIZE()
    if not fewest <= chosen["committee"] <= most:
        raise click.BadParameter(f"this deployment allows {fewest} to {most} seats", param_hint="--committee")
    needed, staked = bounties.SEAT_FACTOR() * chosen["committee"], deployed.stakes.active_seats()
    if staked < needed:
        raise click.UsageError(f"{needed} seats must be staked for that committee, and {staked} are")
    if token is None and in_coins > (most_wei := chosen["committee"] * deployed.stakes.SEAT() // 8):
        raise click.BadParameter(
            f"{coins(most_wei)} coins is the most for that committee: lying must cost more than it brings",
            param_hint="--reward",
        )
    cheapest = bounties.MIN_SEAT_FEE()
    seat_fee = cheapest if chosen["seat_fee"] is None else chosen["seat_fee"]
    if seat_fee < cheapest:
        raise click.BadParameter(f"the least here is {coins(cheapest)} coins", param_hint="--seat-fee")
    if chosen["threshold"] > manifest.metric.bound:
        raise click.BadParameter(
            f"no score is above {manifest.metric.bound} {manifest.metric.unit}", param_hint="--threshold"
        )
    return Terms(
        reward=in_coins if token is None else in_units,
        token=token,
        policy=POLICIES.index(chosen["policy"]),
        threshold=chosen["threshold"],
        baseline=chosen["baseline"],
        committee=chosen["committee"],
        windows=windows,
        seat_fee=seat_fee,
        reserve=chosen["reserve"],
    )


def describe(terms: Terms, bond_: int) -> str:
    """The terms other than what is paid in coins, in one line."""
    windows = ", ".join(f"{name} {span(length)}" for (name, _, _), length in zip(WINDOWS, terms.windows, strict=True))
    text = f"score {terms.threshold} or more, {POLICIES[terms.policy]}; {terms.committee} seats; {windows}"
    return text if terms.token is None else f"{text}; reward {terms.reward} and bond {bond_} units of {terms.token}"


def bond(deployed: Deployed, terms: Terms) -> int:
    """The sponsor's bond for a sealed holdout, in the reward's asset."""
    return int(terms.reward * deployed.bounties.SPONSOR_BOND_BPS() // BPS)


def payments(terms: Terms, bond_: int) -> Sequence[tuple[str, int, str]]:
    """What is paid in coins, for the confirmation."""
    reserve = ("reserve", terms.reserve, "what is not used comes back")
    if terms.token is not None:
        return [reserve]
    return [
        ("reward", terms.reward, "back when nobody passes"),
        ("bond", bond_, "back unless you keep the holdout's key"),
        reserve,
    ]


def approve(signer: Signer, token: str, spender: str, amount: int) -> None:
    """Let the escrow pull `amount` of the token, if it may not yet. Errors: ClickException."""
    contract = ContractInstance(token, ContractType.model_validate({"contractName": "ERC20", "abi": ERC20}))
    if contract.balanceOf(signer.address) < amount:
        raise click.ClickException(f"{signer.address} has less than {amount} units of the token")
    if contract.allowance(signer.address, spender) < amount:
        signer.confirm(f"allow the escrow to take {amount} of the smallest units of the token {token}")
        signer.send(contract.approve, spender, amount)
