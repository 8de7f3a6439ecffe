"""Enumerations and limits of the contracts.

Every value equals one in the Vyper sources; tests/protocol/test_constants.py reads the sources and compares.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple, Self


class _Described(IntEnum):
    """An enumeration whose members have a text for people."""

    text: str

    def __new__(cls, value: int, text: str = "") -> Self:
        """A member that is the integer `value`."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.text = text
        return member


class Phase(_Described):
    """State of a task, as `Bounties.phase` returns it."""

    NONE = 0, "unknown"
    COMMITTING = 1, "committing"
    CONVENING = 2, "convening"
    ATTESTING = 3, "attesting"
    HOLDOUT = 4, "holdout awaited"
    REVEALING = 5, "revealing"
    JUDGING = 6, "judging"
    SETTLED = 7, "settled"
    CANCELLED = 8, "cancelled"


class VerdictStatus(_Described):
    """Status of a task's verdict, as `Panel.panel` returns it. The number 2 is unused: no contract returns it."""

    NONE = 0, "no verdict"
    ACCEPTED = 1, "accepted"
    FINAL = 3, "final"


class Outcome(_Described):
    """What a verdict says about a task. NONE is the outcome of a task that ended without a verdict."""

    NONE = 0, "no verdict"
    SCORED = 1, "the submissions were scored"
    HOLDOUT_INVALID = 2, "the holdout was invalid"
    PROGRAM_INVALID = 3, "the program was invalid"


class Ground(_Described):
    """Why a task was cancelled. NONE is the ground of a task that was not cancelled."""

    NONE = 0, "not cancelled"
    WITHDRAWN = 1, "withdrawn by the sponsor"
    EMPTY = 2, "nobody submitted"
    NO_COMMITTEE = 3, "no committee was drawn"
    UNAVAILABLE = 4, "the sponsor's files were not available"
    HOLDOUT_SILENT = 5, "the sponsor kept the holdout's key"
    HOLDOUT_INVALID = 6, "the holdout was invalid"
    PROGRAM_INVALID = 7, "the program was invalid"
    TERMINAL = 8, "nothing was settled in time"


class RewardPolicy(_Described):
    """How the reward is divided among the passing submissions."""

    BEST = 0, "the best passing score takes the whole reward"
    LADDER = 1, "each passing improvement takes its part of the reward"


class Windows(NamedTuple):
    """The six windows of a task in seconds, in the order of `Terms.windows`; encodes as uint256[6]."""

    commit: int
    attest: int
    holdout: int
    reveal: int
    verdict_commit: int
    verdict_reveal: int


# Wei per unit of the native coin.
ETHER = 10**18

# The asset that stands for the native coin instead of a token's address: the zero address.
NATIVE = "0x" + "00" * 20

# Basis points in one: the contracts state the sponsor's bond as a share of the reward in basis points.
BPS = 10_000

# Amounts stay below this number of wei, or of a token's smallest units, so that no product or packed word overflows.
MAX_AMOUNT = 1 << 120

# A reward in coins is at most the committee's stakes divided by this, which is half of what the panel reserves.
REWARD_DIVISOR = 8

# Panels that can reserve a part of one seat at once; each reserves the seat's price divided by this.
RESERVATIONS_PER_SEAT = 4

# A seat that stays silent is slashed by its reservation divided by this; a wrong verdict costs all of it.
SILENCE_FRACTION = 20

# Maximum length of a seat's endpoint that Stakes stores, in bytes.
MAX_ENDPOINT_BYTES = 200

# Maximum length of the URI of a manifest or submission that Bounties takes. Such a URI is ASCII: one byte each.
MAX_URI_CHARACTERS = 256

# Rounds of voting that a task gets without a new fee; each later one is paid for by whoever reconvenes.
FREE_ROUNDS = 3

# Rounds of voting that a task can have at most, the paid ones included.
MAX_ROUNDS = 32

# Times that a round can be convened again because nobody drew it in time.
MAX_REARMS = 2

# Blocks whose hash the EVM still knows: a draw must be mined at most this many blocks after its target block.
BLOCKHASH_REACH = 256

# Submissions that a task can take: one bit each in a word that is shared with other fields.
MAX_SUBMISSIONS = 64

# Scores, thresholds and baselines lie strictly between -SCORE_BOUND and SCORE_BOUND, so that no payout overflows.
SCORE_BOUND = 1 << 96

# Score of a revealed submission whose bytes are not what was announced: the least int128, which never passes.
MISFIT_SCORE = -(1 << 127)

# Bit of an attestation for the task's own files: manifest, program and evaluation set.
OWN_FILES = 0


def attestation_bit(index: int) -> int:
    """Return the bit of an attestation for the ciphertext of submission `index`."""
    return index + 1
