"""Says what the parameters of a deployment mean in money and time, before they are fixed for good."""

from scripts._parameters import Profile
from scripts._units import coins, span
from verifier.protocol.constants import (
    BPS,
    FREE_ROUNDS,
    RESERVATIONS_PER_SEAT,
    REWARD_DIVISOR,
    SILENCE_FRACTION,
    Windows,
)


def implications(profile: Profile) -> list[tuple[str, str]]:
    """Rows of a subject and what the parameters imply for it, for people."""
    parameters, limits = profile.parameters, profile.parameters.limits
    reserved = parameters.seat // RESERVATIONS_PER_SEAT
    fewest, most = limits.min_committee, limits.max_committee
    rewards = [coins(seats * parameters.seat // REWARD_DIVISOR) for seats in (fewest, most)]
    needed = limits.seat_factor * fewest
    shortest, longest = (
        _task_time(windows, parameters.challenge_window, rounds)
        for windows, rounds in ((limits.min_windows, 1), (limits.max_windows, FREE_ROUNDS))
    )
    return [
        ("a seat costs", f"{coins(parameters.seat)} coins; leaving takes {span(parameters.exit_delay)}"),
        (
            "each panel reserves",
            f"{coins(reserved)} coins of a seat, and a seat sits on at most {RESERVATIONS_PER_SEAT}",
        ),
        (
            "a seat is slashed by",
            f"{coins(reserved)} coins for a wrong or unrevealed verdict, "
            f"{coins(reserved // SILENCE_FRACTION)} for silence",
        ),
        ("a committee has", f"{fewest} to {most} seats, {profile.committee} if the sponsor does not choose"),
        ("the first task needs", f"{needed} staked seats, {coins(needed * parameters.seat)} coins together"),
        ("a reward is at most", f"{rewards[0]} coins with {fewest} seats, {rewards[1]} with {most}"),
        (
            "the sponsor's bond is",
            f"{limits.sponsor_bond_bps / (BPS // 100):g} % of the reward, for a sealed holdout",
        ),
        (
            "a submission costs",
            f"a bond of {coins(limits.submission_bond)} coins, and a fee of at least "
            f"{coins(fewest * limits.min_seat_fee)} ({coins(limits.min_seat_fee)} for each seat)",
        ),
        (
            "a task takes",
            f"at least {span(shortest)}; {span(_task_time(profile.windows, parameters.challenge_window, 1))} with the "
            f"default windows; at most {span(longest)} with {FREE_ROUNDS} rounds; and draws of {parameters.draw_delay} "
            "blocks",
        ),
        (
            "a stuck task ends",
            f"{span(limits.void_delay)} after commits close if no committee is drawn, {span(limits.terminal_delay)} "
            "after its last round without a verdict",
        ),
    ]


def _task_time(windows: Windows, challenge: int, rounds: int) -> int:
    """Seconds from creation to settlement if every window is used in full, without the draws."""
    before = windows.commit + windows.attest + windows.holdout + windows.reveal
    return before + rounds * (windows.verdict_commit + windows.verdict_reveal) + challenge
