"""Pay out what the contracts owe an account: rewards, returned bonds, fees, closed stakes.

ape run withdraw --network ethereum:sepolia --account NAME
"""

from pathlib import Path

import ape
import click

from scripts import _chain, _owed, _state, _units, _wait
from verifier.protocol.constants import NATIVE

# Reverts of a claim that a verifier's service made first.
DONE_ALREADY = ("claim: already claimed", "close: already closed")


@click.command(cls=_chain.Command)
@_chain.account_options
@click.option(
    "--asset", type=_chain.Address(), default=NATIVE, help="Address of the token.  [default: the native coin]"
)
@click.option("--to", type=_chain.Address(), help="Address that receives the payment.  [default: the account]")
@click.option(
    "--wait",
    is_flag=True,
    help="First wait until every task in which the account takes part now has ended. Interrupting it sends nothing.",
)
def cli(alias: str, passphrase_file: Path | None, yes: bool, asset: str, to: str | None, wait: bool) -> None:
    """Pay out everything that is credited to the account, as sponsor, solver or owner of seats.

    Credits come from the escrow (rewards, bonds, fees) and from the registry of seats (closed stakes). Claims that are
    open after the end of a task are made first: a solver's submission, and the votes of an owner's seats. Prints what
    the contracts' events say, and what is still to come from tasks that have not ended.
    """
    deployed = _chain.deployed()
    signer = _chain.Signer(alias, passphrase_file, yes)
    receiver = to or signer.address
    snapshot = _when_ended(signer.address) if wait else _state.read()
    owed = _owed.read(snapshot, signer.address)
    credits = _credits(deployed, asset, signer.address)
    total = sum(amount for _, amount in credits.values())
    if owed.claims or total:
        actions = [claim.text for claim in owed.claims]
        actions.append(f"pay out {_amount(total, asset)} to {receiver}{', and what is claimed' * bool(actions)}")
        signer.confirm("\n  ".join(actions))
        for claim in owed.claims:
            _claim(deployed, signer, claim)
        _withdraw(deployed, signer, asset, receiver)
    else:
        click.echo("nothing is credited to this account" if asset == NATIVE else f"no {asset} is credited to it")
    for other in sorted(owed.assets - {asset}):
        held = sum(amount for _, amount in _credits(deployed, other, signer.address).values())
        if held:
            option = "" if other == NATIVE else f" --asset {other}"
            click.echo(f"also credited: {_amount(held, other)}; `ape run withdraw{option}` pays it out")
    for line in owed.describe_pending(snapshot):
        click.echo(f"still to come: {line}")


Credits = dict[str, tuple[ape.contracts.ContractInstance, int]]


def _credits(deployed: _chain.Deployed, asset: str, account: str) -> Credits:
    """Each contract that pays, and what it owes the account in that asset."""
    contracts = {"the registry of seats": deployed.stakes, "the escrow": deployed.bounties}
    return {name: (contract, int(contract.credit(asset, account))) for name, contract in contracts.items()}


def _when_ended(account: str) -> _state.Snapshot:
    """Wait until every task in which the account takes part at the first look has ended."""
    awaited: set[bytes] | None = None

    def ready(snapshot: _state.Snapshot) -> bool:
        nonlocal awaited
        open_now = {state.id for state, _ in _owed.read(snapshot, account).pending}
        awaited = open_now if awaited is None else awaited & open_now
        return not awaited

    def waiting(snapshot: _state.Snapshot) -> str:
        first, *others = _owed.read(snapshot, account).describe_pending(snapshot)
        more = f" ({len(others)} more tasks)" if others else ""
        return f"waiting until the account's tasks have ended: {first}{more}"

    return _wait.until(ready, waiting)


def _claim(deployed: _chain.Deployed, signer: _chain.Signer, claim: _owed.Claim) -> None:
    """Make a claim and print what its event says; print that it is made when a verifier's service was faster."""
    state = claim.state
    try:
        if claim.member is not None:
            receipt = signer.send(deployed.panel.close_vote, state.id, claim.round, claim.member.position)
            closed = next(iter(receipt.decode_logs(deployed.panel.VoteClosed)))
            slashed = f", {_units.coins(closed.slashed)} coins of its stake slashed" if closed.slashed else ""
            said = f"earned {_units.coins(closed.earned)} coins{slashed}"
        else:
            scores = list(state.history.scores)
            receipt = signer.send(deployed.bounties.claim_submission, state.id, claim.submission, scores)
            claimed = next(iter(receipt.decode_logs(deployed.bounties.SubmissionClaimed)))
            reward, native = _amount(claimed.reward, state.terms.asset), _units.coins(claimed.native)
            said = f"reward {reward}; bond and refunds {native} coins"
    except click.ClickException as error:
        if not error.message.endswith(DONE_ALREADY):
            raise
        said = "somebody has done it already"
    click.echo(f"{claim.text}: {said}")


def _withdraw(deployed: _chain.Deployed, signer: _chain.Signer, asset: str, receiver: str) -> None:
    """Withdraw from each contract that owes something, and print what the events say."""
    total = 0
    for name, (contract, amount) in _credits(deployed, asset, signer.address).items():
        if amount:
            receipt = signer.send(contract.withdraw, asset, receiver)
            paid = next(iter(receipt.decode_logs(contract.Withdrawn)))
            total += paid.amount
            click.echo(f"{name} paid {_amount(paid.amount, asset)} to {paid.to}")
    click.echo(f"paid {_amount(total, asset)} to {receiver}" if total else "the claims credited nothing in this asset")


def _amount(amount: int, asset: str) -> str:
    return f"{_units.coins(amount)} coins" if asset == NATIVE else f"{amount} units of {asset}"
