"""A sponsor's offer: the options of `task create`, the ranges that the deployment allows, and the payments."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from ape.contracts import ContractInstance
from ethpm_types import ContractType

from scripts import _deployments
from scripts._chain import Address, Deployed, Signer, network
from scripts._parameters import PROFILES
from scripts._units import Coins, Duration, coins, span
from verifier.artifacts import digests
from verifier.artifacts.errors import Misfit
from verifier.protocol.constants import BPS, NATIVE, REWARD_DIVISOR, SCORE_BOUND, RewardPolicy, Windows
from verifier.tasks import Manifest, find_kind
from verifier.tasks.case import SealedFile
from verifier.tasks.judge import read_tensors

WINDOW_OPTIONS = {  # window -> what happens in it
    "commit": "solvers commit",
    "attest": "the committee attests which files it has",
    "holdout": "you reveal the holdout",
    "reveal": "solvers reveal or decline",
    "verdict_commit": "verifiers evaluate and commit",
    "verdict_reveal": "verifiers reveal",
}
# Stands for a default that depends on the deployment.
OF_DEPLOYMENT = "  [default: the deployment's]"
POLICIES = {policy.name.lower(): policy for policy in RewardPolicy}
SCORE = click.IntRange(-SCORE_BOUND + 1, SCORE_BOUND - 1)

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
class Offer:
    """The terms that a sponsor chose. Amounts are in wei or a token's smallest unit, windows in seconds."""

    reward: int
    token: str | None
    policy: RewardPolicy
    threshold: int
    baseline: int
    committee: int
    windows: Windows
    seat_fee: int
    reserve: int

    def argument(self, manifest: Manifest, holdout: bytes) -> tuple[object, ...]:
        """The struct IBounties.Terms, in its field order; `holdout` is the commitment, zero without a holdout."""
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
    """Add the options of `task create` that `choose` takes."""
    policies = ". ".join(f"{name}: {policy.text}" for name, policy in POLICIES.items())
    chosen = [
        click.option("--reward", type=Coins(), help="Reward in coins."),
        click.option("--token", type=Address(), help="ERC-20 token of the reward, for a reward that is not in coins."),
        click.option("--reward-units", type=click.IntRange(1), help="Reward in the token's smallest unit."),
        click.option("--threshold", type=SCORE, required=True, help="Score that a submission must reach to be paid."),
        click.option(
            "--policy",
            type=click.Choice(list(POLICIES)),
            default=RewardPolicy.BEST.name.lower(),
            show_default=True,
            help=f"{policies}.",
        ),
        click.option(
            "--baseline",
            type=SCORE,
            default=0,
            show_default=True,
            help="Score from which the policy ladder measures the first improvement.",
        ),
        click.option("--committee", type=click.IntRange(1), help=f"Seats drawn in the first round.{OF_DEPLOYMENT}"),
        *(
            click.option(_flag(name), type=Duration(), help=f"Time in which {what}.{OF_DEPLOYMENT}")
            for name, what in WINDOW_OPTIONS.items()
        ),
        click.option(
            "--seat-fee",
            type=Coins(),
            help="Coins for each seat and submission, paid by solvers.  [default: the deployment's minimum]",
        ),
        click.option(
            "--reserve",
            type=Coins(),
            default="0",
            show_default=True,
            help="Coins that pay verifiers if the first round ends without a verdict; the unused part is returned.",
        ),
    ]
    for option in reversed(chosen):
        command = option(command)
    return command


def choose(deployed: Deployed, manifest: Manifest, **chosen: Any) -> Offer:
    """Build the offer from these options and check that the deployment allows it. Errors: UsageError, BadParameter."""
    token, in_coins, in_units = chosen["token"], chosen["reward"], chosen["reward_units"]
    if (token is None) == (in_coins is None) or (token is None) == (in_units is not None):
        raise click.UsageError("give --reward COINS, or --token ADDRESS with --reward-units NUMBER")
    # A record of an earlier release has no defaults; `public` was the profile of every network but a local one.
    defaults = _deployments.load(network()).get("defaults") or PROFILES["public"].defaults()
    windows = Windows(*(_or_default(chosen[f"{name}_window"], defaults["windows"][name]) for name in Windows._fields))
    _check_windows(deployed, windows)
    _check_capacity(deployed, windows, manifest)
    committee = _or_default(chosen["committee"], defaults["committee"])
    _check_committee(deployed, committee)
    if token is None:
        max_reward = committee * deployed.stakes.SEAT() // REWARD_DIVISOR
        if in_coins > max_reward:
            raise click.BadParameter(
                f"the maximum for a committee of {committee} is {coins(max_reward)} coins, so that lying "
                "costs more than it brings",
                param_hint="--reward",
            )
    min_seat_fee = deployed.bounties.MIN_SEAT_FEE()
    seat_fee = min_seat_fee if chosen["seat_fee"] is None else chosen["seat_fee"]
    if seat_fee < min_seat_fee:
        raise click.BadParameter(f"this deployment's minimum is {coins(min_seat_fee)} coins", param_hint="--seat-fee")
    policy, threshold, baseline = POLICIES[chosen["policy"]], chosen["threshold"], chosen["baseline"]
    if threshold > manifest.metric.bound:
        raise click.BadParameter(
            f"no score of this task can exceed {manifest.metric.bound} {manifest.metric.unit}",
            param_hint="--threshold",
        )
    if policy is RewardPolicy.LADDER and baseline >= threshold:
        raise click.BadParameter(
            f"with --policy ladder it must be below the threshold of {threshold}", param_hint="--baseline"
        )
    return Offer(
        reward=in_coins if token is None else in_units,
        token=token,
        policy=policy,
        threshold=threshold,
        baseline=baseline,
        committee=committee,
        windows=windows,
        seat_fee=seat_fee,
        reserve=chosen["reserve"],
    )


def check_scores(manifest: Manifest, offer: Offer, evaluation_set: Path | SealedFile) -> list[str]:
    """Compare the threshold and the baseline with the scores that the task's kind says are possible on the set.

    Returns warnings. Errors: BadParameter for a threshold that no submission can reach; ClickException when the set
    does not fit the manifest, which would cancel the task.
    """
    remarks = []
    if offer.policy is RewardPolicy.BEST and offer.baseline:
        remarks.append(f"--baseline {offer.baseline} has no effect: only --policy ladder uses it")
    try:
        examples = read_tensors(evaluation_set, manifest.set_schema(manifest.evaluation_count))
    except Misfit as error:
        raise click.ClickException(f"the evaluation set does not fit the manifest: {error}") from error
    score_range = find_kind(manifest.kind).score_range
    if score_range is None:
        return remarks
    trivial, largest = score_range(examples, manifest.evaluation_count, manifest)
    unit = manifest.metric.unit
    if offer.threshold > largest:
        raise click.BadParameter(f"no submission can score more than {largest} {unit}", param_hint="--threshold")
    if offer.threshold <= trivial:
        remarks.append(
            f"a submission that ignores its input can score {trivial} {unit}, so it reaches the threshold of "
            f"{offer.threshold} and is paid"
        )
    if offer.policy is RewardPolicy.LADDER and offer.baseline < trivial:
        remarks.append(
            f"a submission that ignores its input can score {trivial} {unit}: the ladder pays for what it exceeds the "
            f"baseline of {offer.baseline}"
        )
    return remarks


def _flag(window: str) -> str:
    return f"--{window.replace('_', '-')}-window"


def _check_windows(deployed: Deployed, windows: Windows) -> None:
    for position, (name, seconds) in enumerate(windows._asdict().items()):
        shortest, longest = deployed.bounties.window_range(position)
        if not shortest <= seconds <= longest:
            raise click.BadParameter(
                f"this deployment allows {span(shortest)} to {span(longest)}", param_hint=_flag(name)
            )


def _or_default(chosen: int | None, default: int) -> int:
    return default if chosen is None else chosen


def _check_capacity(deployed: Deployed, windows: Windows, manifest: Manifest) -> None:
    """Check that the slowest permitted operator can evaluate a submission before verdict commits close."""
    rate = deployed.bounties.REFERENCE_RATE()
    if windows.verdict_commit * rate < manifest.macs:
        needed = -(-manifest.macs // rate)
        raise click.BadParameter(
            f"evaluating one submission takes up to {span(needed)}, and each further one as long: the window has "
            f"{span(windows.verdict_commit)}",
            param_hint=_flag("verdict_commit"),
        )


def _check_committee(deployed: Deployed, committee: int) -> None:
    bounties = deployed.bounties
    fewest, most = bounties.MIN_COMMITTEE(), bounties.MAX_COMMITTEE_SIZE()
    if not fewest <= committee <= most:
        raise click.BadParameter(f"this deployment allows {fewest} to {most} seats", param_hint="--committee")
    needed, staked = bounties.SEAT_FACTOR() * committee, deployed.stakes.active_seats()
    if staked < needed:
        raise click.BadParameter(
            f"a committee of {committee} needs {needed} staked seats, and {staked} are staked: "
            + ("choose a smaller one, or " if fewest < committee else "")
            + "wait until operators have joined with `ape run stake join`",
            param_hint="--committee",
        )


def describe(offer: Offer, bond_: int) -> str:
    """Describe the offer in one line, without the payments in coins."""
    windows = ", ".join(f"{name.replace('_', ' ')} {span(length)}" for name, length in offer.windows._asdict().items())
    policy = offer.policy.name.lower()
    text = f"threshold {offer.threshold}, policy {policy}; {offer.committee} seats; windows: {windows}"
    return text if offer.token is None else f"{text}; reward {offer.reward} and bond {bond_} units of {offer.token}"


def bond(deployed: Deployed, offer: Offer) -> int:
    """The sponsor's bond for a sealed holdout, in the reward's asset."""
    return int(offer.reward * deployed.bounties.SPONSOR_BOND_BPS() // BPS)


def payments(offer: Offer, bond_: int) -> Sequence[tuple[str, int, str]]:
    """The payments in coins, as (label, wei, remark) for the confirmation."""
    reserve = ("reserve", offer.reserve, "the unused part is returned")
    if offer.token is not None:
        return [reserve]
    return [
        ("reward", offer.reward, "returned if no submission passes"),
        ("bond", bond_, "returned unless you keep the holdout's key"),
        reserve,
    ]


def approve(signer: Signer, token: str, spender: str, amount: int) -> None:
    """Allow the escrow to take `amount` of the token, unless it already may. Errors: ClickException."""
    contract = ContractInstance(token, ContractType.model_validate({"contractName": "ERC20", "abi": ERC20}))
    balance = contract.balanceOf(signer.address)
    if balance < amount:
        raise click.ClickException(
            f"{signer.address} has {balance} units of the token {token}, and {amount} are needed"
        )
    if contract.allowance(signer.address, spender) < amount:
        signer.confirm(f"allow the escrow to take {amount} of the smallest unit of the token {token}")
        signer.send(contract.approve, spender, amount)
