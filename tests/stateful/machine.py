"""Random histories of several tasks at once, played on the contracts and on the model."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.evm import HASH_REACH, ZERO, word
from tests.harness import ETHER, EXIT_DELAY, RESERVATION, SEAT
from tests.stateful import checks, panel_moves, progress, seat_moves, task_moves
from tests.stateful.case import Case
from tests.stateful.counts import Counts
from tests.stateful.stage import JURY, OUTSIDER, OWNERS, PEOPLE, SOLVERS, SPONSORS, Stage, operator
from verifier.protocol.constants import MISFIT_SCORE, SCORE_BOUND, Outcome, RewardPolicy, Windows

MAX_TASKS = 4
MIN_SEATS, MAX_SEATS = 12, 24
# The moves; a move is chosen in proportion to the number of times that it is listed.
MOVES = (
    ["go_on"] * 20
    + ["create", "jury", "out_of_order"] * 3
    + ["submit", "tend_seat"] * 2
    + ["hurry", "wind_up", "wait_for_a_deadline", "leap", "mine"]
    + ["top_up_reward", "join", "refill", "leave", "withdraw"]
)
# The honest score of each adapter: below, at and above the threshold of 100, repeated, and at the ends of the range.
SCORES = (150, 120, 100, 99, 150, 201, -7, 163, SCORE_BOUND - 1, MISFIT_SCORE, 101, 180)
WINDOWS = (
    Windows(commit=100, attest=90, holdout=80, reveal=70, verdict_commit=60, verdict_reveal=40),
    Windows(commit=300, attest=20, holdout=35, reveal=25, verdict_commit=45, verdict_reveal=55),
    Windows(commit=40, attest=10, holdout=200, reveal=130, verdict_commit=90, verdict_reveal=10),
)


# A seed is drawn bit by bit, because Hypothesis prefers small integers and constants of the loaded modules.
seeds = st.lists(st.booleans(), min_size=24, max_size=24).map(lambda bits: sum(bit << i for i, bit in enumerate(bits)))


class Bounties(RuleBasedStateMachine):
    """The protocol over time. `counts` is shared by all examples of a run."""

    counts = Counts()

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(self.counts)
        self.rng = Random()
        self.conduct = progress.Conduct(self.rng.choice)

    @initialize(seed=seeds)
    def begin(self, seed: int) -> None:
        self.rng.seed(seed)
        while len(self.stage.cases) < 2:
            self.create(self.rng)

    @rule(seed=seeds)
    def act(self, seed: int) -> None:
        """Make one move, chosen by this seed and all seeds before it.

        Hypothesis tends to repeat its draws: if it chose rules and options itself, it would try few of them, and hardly
        any call would succeed. With seeds it still shrinks failing histories, and every run can be repeated.
        """
        self.rng.seed(self.rng.getrandbits(64) ^ seed)
        getattr(self, self.rng.choice(MOVES))(self.rng)

    # ----------------------------------------------------------------------------------- sponsors and solvers

    def create(self, rng: Random) -> None:
        if len(self.stage.live()) == MAX_TASKS:
            return
        committee = rng.choice([3, 4, 5, 3, 6])
        bound = task_moves.bound(committee)
        sponsor = rng.choice(SPONSORS)
        case = task_moves.create(
            self.stage,
            sponsor,
            rng.choice([True, False]),
            rng.choice([Outcome.SCORED] * 3 + [Outcome.HOLDOUT_INVALID, Outcome.PROGRAM_INVALID]),
            asset=rng.choice(list(self.stage.asset_names)),
            # Odd amounts, so that every division leaves a remainder.
            reward=rng.choice([ETHER + 1, bound // 2 + 7, 3, bound, bound + 1]),
            policy=rng.choice([RewardPolicy.LADDER, RewardPolicy.BEST]),
            committee=committee,
            windows=rng.choice(WINDOWS),
            macs=rng.choice([10**9, 10**11, 3 * 10**10]),
            seat_fee=rng.choice([10**15 + 3, 10**9 + 1]),
            reserve=rng.choice([0, 10**15 + 9, ETHER]),
        )
        if case is not None:
            follows = rng.choice(["submissions"] * 16 + ["nothing", "second thoughts"])
            if follows == "submissions":
                self._submit(rng, case, rng.randint(1, 6))
            elif follows == "second thoughts":
                task_moves.cancel(self.stage, case, sponsor)

    def top_up_reward(self, rng: Random) -> None:
        amount = rng.choice([1, ETHER // 3, 0, SEAT])
        task_moves.top_up(self.stage, self._early(rng), rng.choice(PEOPLE), amount)

    def submit(self, rng: Random) -> None:
        self._submit(rng, self._early(rng), rng.randint(1, 9))

    def _submit(self, rng: Random, case: Case, count: int) -> None:
        """Commit several submissions of random solvers, with repeated adapters; sometimes none of them passes."""
        fails = rng.randrange(4) == 0
        pool = rng.sample([i for i, score in enumerate(SCORES) if score < 100 or not fails], 3)
        for _ in range(count):
            adapter = rng.choice(pool)
            solver = rng.choice(SOLVERS)
            above = rng.choice([0] * 6 + [5, -1])
            task_moves.submit(self.stage, case, solver, f"adapter {adapter}", SCORES[adapter], above)

    # ------------------------------------------------------------------------------------------------ the flow

    def go_on(self, rng: Random) -> None:
        """Advance several tasks by a few steps, in the order of their deadlines."""
        if len(self.stage.live()) < 3:
            self.create(rng)
        for _ in range(rng.randint(4, 16)):
            self._step(self._case(rng))

    def hurry(self, rng: Random) -> None:
        """Advance one task by many steps, ignoring the deadlines of the others."""
        case, self.conduct.hurried = self._case(rng), True
        for _ in range(rng.randint(5, 30)):
            self._step(case)
        self.conduct.hurried = False

    def _step(self, case: Case) -> None:
        if not progress.is_over(case):
            progress.step(self.stage, case, self.conduct)

    def wind_up(self, rng: Random) -> None:
        if ended := [case for case in self.stage.cases if case.ending]:
            progress.wind_up(self.stage, rng.choice(ended))

    # --------------------------------------------------------------------------------------------------- time

    def wait_for_a_deadline(self, rng: Random) -> None:
        """Advance to the nearest deadline of any task: the second before, the second itself or the second after."""
        if times := self._deadlines():
            offset = rng.choice([-1, 0, 0, 1])
            self.stage.chain.at(max(times[0] + offset, self.stage.now))

    def leap(self, rng: Random) -> None:
        """Advance to the last deadline of all tasks, or to the second in which the first seat may leave."""
        leaving = [seat.exit_at + EXIT_DELAY for seat in self.stage.registry.present() if seat.exit_at]
        times = self._deadlines()[-1:] if rng.randrange(4) == 0 else sorted(leaving)[:1]
        if times:
            offset = rng.choice([-1, 0])
            self.stage.chain.at(max(times[0] + offset, self.stage.now))

    def mine(self, rng: Random) -> None:
        self.stage.mine(self.stage.chain.block + rng.choice([1, 3, HASH_REACH + 4]))

    def _deadlines(self) -> list[int]:
        return sorted(time for case in self.stage.live() for time in case.deadlines(self.stage.now))

    # -------------------------------------------------------------------------------------------------- seats

    def join(self, rng: Random) -> None:
        if len(self.stage.registry.active()) < MAX_SEATS:
            owner, key = rng.choice(OWNERS), rng.randint(0, 2)
            seat_moves.join(self.stage, owner, operator(owner, key), rng.choice([SEAT, SEAT, 1]))

    def tend_seat(self, rng: Random) -> None:
        """Change a seat as its owner, or try to as an outsider."""
        seat = rng.choice(self.stage.registry.present())
        sender = rng.choice([seat.owner] * 5 + [OUTSIDER])
        move = rng.choice(["enrol", "rotate", "endpoint", "request exit"])
        if move == "enrol":
            seat_moves.enrol(self.stage, seat, sender)
        elif move == "rotate":
            seat_moves.set_operator(self.stage, seat, sender, operator(seat.owner, rng.randint(0, 2)))
        elif move == "endpoint":
            seat_moves.set_endpoint(self.stage, seat, sender, "https://mirror.example")
        elif len(self.stage.registry.active()) > MIN_SEATS:
            seat_moves.request_exit(self.stage, seat, sender)

    def refill(self, rng: Random) -> None:
        """Refill a seat: by nothing, a part or all of what it lost, or by too much."""
        short = [seat for seat in self.stage.registry.present() if seat.balance < SEAT]
        seat = rng.choice(short or self.stage.registry.present())
        share = rng.choice([3, 2, 1, 0, 4])
        seat_moves.top_up(self.stage, seat, rng.choice(PEOPLE), (SEAT - seat.balance) * share // 3)

    def leave(self, rng: Random) -> None:
        if leaving := [seat for seat in self.stage.registry.present() if seat.exit_at]:
            seat = rng.choice(leaving)
            seat_moves.leave(self.stage, seat, seat.owner)

    def jury(self, rng: Random) -> None:
        """Act as a second panel: enrol seats with it, draw seats, or release one with or without a slash."""
        stage, holds = self.stage, self.stage.jury_holds
        unenrolled = [seat for seat in stage.registry.active() if JURY not in seat.enrolled]
        if len(unenrolled) > MIN_SEATS:
            for seat in rng.sample(unenrolled, 4):
                seat_moves.enrol(stage, seat, seat.owner)
        elif not holds or (len(holds) < 6 and rng.choice([True, False])):
            seed = word(f"jury {rng.randint(0, 2**32)}")
            seat_moves.jury_draw(stage, seed, rng.randint(0, 4))
        else:
            sender = rng.choice([JURY] * 4 + [OUTSIDER])
            slash = rng.choice([0, 1, RESERVATION, RESERVATION + 1])
            seat_moves.jury_release(stage, rng.choice(holds), slash, sender)

    # -------------------------------------------------------------------------------------------------- money

    def withdraw(self, rng: Random) -> None:
        stage, account, to = self.stage, rng.choice(PEOPLE), rng.choice(PEOPLE)
        for asset in stage.asset_names:
            seat_moves.withdraw(stage, stage.bounties, stage.ledger, account, to, asset)
        seat_moves.withdraw(stage, stage.stakes, stage.registry.ledger, account, to)

    # ------------------------------------------------------------------------------------------- out of order

    def out_of_order(self, rng: Random) -> None:
        """Make many calls of any account at any time; the model predicts which succeed and why the others do not."""
        stage, case, sender = self.stage, self._case(rng), rng.choice(PEOPLE)
        position, number = rng.randint(0, 7), rng.randint(1, 4)
        verdict = rng.choice([ZERO, word("salt"), word("verdict")])
        panel_moves.convene(stage, case, sender)
        panel_moves.draw(stage, case, wrong_header=position > 4)
        panel_moves.close_attestation(stage, case, sender)
        task_moves.reconvene(stage, case, sender, above=position - 4)
        task_moves.reveal_holdout(stage, case, sender, case.task.holdout or (verdict,) * 3)
        if case.submissions:
            index = position % len(case.submissions)
            other = case.submissions[number % len(case.submissions)].entry
            task_moves.reveal(stage, case, index, other, sender)
            task_moves.decline(stage, case, index, case.submissions[index].solver if number == 1 else sender)
            task_moves.claim(stage, case, index, [position] * (number - 1), sender)
        attester = case.rounds[0].seats[position].operator if self._sits(case, 1, position) else sender
        panel_moves.attest(stage, case, position, 2 ** (number + position % 2) - 1, attester)
        voter = case.rounds[number - 1].seats[position].operator if self._sits(case, number, position) else sender
        panel_moves.commit(stage, case, number, position, verdict, voter)
        panel_moves.show(stage, case, number, position, verdict, word("salt"), sender)
        panel_moves.close(stage, case, number, position, sender)
        task_moves.settle(stage, case, number % 4, [position] * (number // 2), verdict, sender)
        task_moves.cancel(stage, case, sender)

    @staticmethod
    def _sits(case: Case, number: int, position: int) -> bool:
        return number <= len(case.rounds) and position < len(case.rounds[number - 1].seats)

    def _case(self, rng: Random) -> Case:
        """A random task, most often one that has not ended."""
        return rng.choice(self.stage.live() * 3 + self.stage.cases)

    def _early(self, rng: Random) -> Case:
        """A random task, if possible one that accepts submissions."""
        open_ = [case for case in self.stage.live() if self.stage.now < case.task.commit_closes]
        return rng.choice(open_ or self.stage.cases)

    # --------------------------------------------------------------------------------------------- invariants

    @invariant()
    def holds(self) -> None:
        self.stage.broken, broken = True, self.stage.broken
        checks.after_every_step(self.stage)
        self.stage.broken = broken

    def teardown(self) -> None:
        if not self.stage.broken:
            checks.at_the_end(self.stage)
