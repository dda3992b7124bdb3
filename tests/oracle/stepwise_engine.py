"""One engine of the step-by-step simulator (stepwise.py): a step is played out sequence by sequence, token by token."""

import math
from dataclasses import dataclass, field
from typing import Protocol

from meritorder.policy.backfill import backfill_sequences
from meritorder.policy.replicas import replica_load
from meritorder.sim.pools import SimPool


@dataclass
class Request:
    """One request, and what became of it."""

    number: int
    arrived_s: float
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    latest_start_s: float
    work_s: float
    deferrable: bool
    in_backfill: bool  # served in the deferrable lane: until it is urgent
    access: int
    generated: int = 0
    replica: int = -1  # that it ran on, since it last lost its progress
    attempts: int = 0  # that were lost
    spent_s: float = 0.0  # its share of the steps that it was in, since it was last lost
    admitted_s: float = math.nan
    first_token_s: float = math.nan
    finished_s: float = math.nan


@dataclass(eq=False)
class Sequence:
    """A running request: how much of its text is in the cache, and the blocks that hold it."""

    request: Request
    text_tokens: int  # to be computed before it decodes: its prompt, and what it generated before a preemption
    cached_tokens: int
    blocks: int
    chunk: int = 0

    @property
    def decodes(self) -> bool:
        return self.cached_tokens >= self.text_tokens


@dataclass
class Account:
    """Where the time of a pool went, in seconds of replicas."""

    paid_s: float = 0.0
    realtime_s: float = 0.0
    deferrable_s: float = 0.0
    startup_s: float = 0.0
    lost_s: float = 0.0
    interruptions: int = 0
    peak_instances: int = 0
    realtime_bins_s: list[float] = field(default_factory=list)
    deferrable_bins_s: list[float] = field(default_factory=list)
    capacity_bins_s: list[float] = field(default_factory=list)

    def lose(self, request: Request) -> None:
        """Have a request begin again; what it was computed so far is lost, and no longer work."""
        if request.deferrable:
            self.deferrable_s -= request.spent_s
        else:
            self.realtime_s -= request.spent_s
        self.lost_s += request.spent_s
        request.spent_s, request.generated, request.first_token_s, request.replica = 0.0, 0, math.nan, -1
        request.attempts += 1


def add_to_bins(bins: list[float], bin_s: float, start_s: float, end_s: float, weight: float) -> None:
    """Add the part of the interval that lies in each bin; the first has no beginning and the last no end."""
    last = len(bins) - 1
    first_touched, last_touched = (min(max(int(time_s // bin_s), 0), last) for time_s in (start_s, end_s))
    for index in range(first_touched, last_touched + 1):
        lower_s = -math.inf if index == 0 else index * bin_s
        upper_s = math.inf if index == last else (index + 1) * bin_s
        bins[index] += weight * max(0.0, min(end_s, upper_s) - max(start_s, lower_s))


class Surroundings(Protocol):
    """What an engine sees of its fleet."""

    preemptions: int
    backlog: list[Request]

    def is_on(self, replica: "Replica") -> bool: ...


@dataclass
class Replica:
    """One engine: its running sequences, its queues, and the step under way."""

    number: int
    pool: SimPool
    account: Account
    running: list[Sequence] = field(default_factory=list)  # in order of admission
    realtime: list[Request] = field(default_factory=list)
    deferrable: list[Request] = field(default_factory=list)
    step_began_s: float = 0.0
    step_ends_s: float = math.inf
    step_decodes: list[Sequence] = field(default_factory=list)
    step_prompts: list[Sequence] = field(default_factory=list)
    backfill_share: float = 1.0  # of the sequences and memory that deferrable work may take

    @property
    def backfill(self) -> tuple[int, float]:
        """Return the sequences up to which deferrable work joins, and the share of memory."""
        if self.pool.backfill is None:
            return 0, 1.0
        limits = self.pool.backfill.scaled(self.backfill_share)
        return min(limits.sequences, self.pool.limits.max_num_seqs), limits.kv_share

    @property
    def waiting(self) -> int:
        return len(self.realtime) + len(self.deferrable)

    @property
    def in_flight(self) -> int:
        return len(self.running) + self.waiting

    @property
    def realtime_in_flight(self) -> int:
        requests = [sequence.request for sequence in self.running] + self.realtime + self.deferrable
        return sum(not request.deferrable for request in requests)

    @property
    def load(self) -> int:
        return replica_load(len(self.running), self.waiting)

    @property
    def mixes(self) -> bool:
        """Whether prompts share their steps with decodes."""
        return not self.pool.limits.prefill_first

    @property
    def kv_blocks(self) -> int:
        return self.pool.profile.kv_capacity_tokens // self.pool.limits.block_tokens

    @property
    def state_blocks(self) -> int:
        return math.ceil(self.pool.profile.state_tokens / self.pool.limits.block_tokens)

    @property
    def blocks_used(self) -> int:
        return sum(sequence.blocks + self.state_blocks for sequence in self.running)

    def text_at_admission(self, request: Request) -> int:
        """Return the tokens that a request gets memory for at once: its text so far, or all that it will have."""
        reserved = request.output_tokens if self.pool.limits.reserve_outputs else request.generated
        return request.input_tokens + reserved

    def blocks_of(self, tokens: int) -> int:
        blocks = 0
        while blocks * self.pool.limits.block_tokens < tokens:
            blocks += 1
        return blocks

    def needs_block(self, sequence: Sequence) -> bool:
        """Whether the token of its next decode step goes beyond its last block."""
        return sequence.decodes and sequence.cached_tokens + 1 > sequence.blocks * self.pool.limits.block_tokens

    def fits(self, request: Request, share: float = 1.0) -> bool:
        """Whether there is memory to admit it; an engine that holds nothing may fill all of it."""
        blocks = int(share * self.kv_blocks) if self.running else self.kv_blocks
        needed = self.blocks_of(self.text_at_admission(request)) + self.state_blocks
        return self.blocks_used + needed <= blocks

    def requeue(self, sequence: Sequence) -> None:
        """Return a sequence to the front of its queue: all its text is to be computed again."""
        self.running.remove(sequence)
        request = sequence.request
        (self.deferrable if request.in_backfill else self.realtime).insert(0, request)

    def admit(self, request: Request, chunk_tokens: int, now: float) -> int:
        """Start a request with its blocks and a first chunk; return the size of the chunk."""
        tokens = request.input_tokens + request.generated
        blocks = self.blocks_of(self.text_at_admission(request))
        sequence = Sequence(request, tokens, request.cached_tokens, blocks)
        self.running.append(sequence)
        request.replica = self.number
        if math.isnan(request.admitted_s):
            request.admitted_s = now
        return self.schedule_chunk(sequence, chunk_tokens)

    def schedule_chunk(self, sequence: Sequence, max_tokens: int) -> int:
        sequence.chunk = min(sequence.text_tokens - sequence.cached_tokens, max_tokens)
        self.step_prompts.append(sequence)
        return sequence.chunk

    def begin_step(self, now: float, fleet: Surroundings) -> None:
        """Decide who is in the next step, as the engine's scheduler does."""
        preempted = self._make_room(fleet)
        budget = self.pool.limits.max_num_batched_tokens
        if self.mixes:
            budget -= sum(s.decodes for s in self.running)
        deferrable_budget = self.pool.backfill.prefill_tokens if self.pool.backfill else 0
        self.step_prompts = []
        for sequence in [s for s in self.running if not s.decodes]:
            if sequence.request.in_backfill:
                chunk = self.schedule_chunk(sequence, min(budget, deferrable_budget))
                deferrable_budget -= chunk
            else:
                chunk = self.schedule_chunk(sequence, budget)
            budget -= chunk
        if not preempted:
            budget = self._admit_realtime(budget, now)
            self._admit_deferrable(budget, deferrable_budget, now, fleet)
        alone = bool(self.step_prompts) and not self.mixes
        self.step_decodes = [] if alone else [s for s in self.running if s.decodes]
        self.step_began_s = now
        self.step_ends_s = now + self._step_time_s() if self.running else math.inf

    def _make_room(self, fleet: Surroundings) -> bool:
        """Give each decoding sequence the block of its next token, from the last admitted if there is none left."""
        preempted = False
        while len(self.running) > 1 and self._short_of_blocks():
            in_backfill = [s for s in self.running if s.request.in_backfill]
            self.requeue((in_backfill or self.running)[-1])
            fleet.preemptions += 1
            preempted = True
        for sequence in self.running:
            if self.needs_block(sequence):
                sequence.blocks += 1
        return preempted

    def _admit_realtime(self, budget: int, now: float) -> int:
        """Admit requests in order while sequences, memory and tokens last; return the tokens that are left."""
        while self.realtime and budget > 0:
            request = self.realtime[0]
            if len(self.running) >= self.pool.limits.max_num_seqs or not self.fits(request):
                break
            if self._would_be_cut(request, budget):
                break
            budget -= self.admit(self.realtime.pop(0), budget, now)
        return budget

    def _admit_deferrable(self, budget: int, deferrable_budget: int, now: float, fleet: Surroundings) -> None:
        """Once no real-time request waits, admit the own queue and then the backlog, up to the limits of policy."""
        sequences, kv_share = self.backfill
        while not self.realtime and min(budget, deferrable_budget) > 0:
            source = self.deferrable or (fleet.backlog if fleet.is_on(self) else [])
            request = next((r for r in source if r.access in self.pool.permitted), None)
            if backfill_sequences(len(self.running), 0, sequences) == 0 or request is None:
                break
            if not self.fits(request, kv_share):
                break
            if self._would_be_cut(request, min(budget, deferrable_budget)):
                break
            source.remove(request)
            chunk = self.admit(request, min(budget, deferrable_budget), now)
            budget -= chunk
            deferrable_budget -= chunk

    def _would_be_cut(self, request: Request, max_tokens: int) -> bool:
        """Whether an engine that cuts no prompt beside others would have to cut this one."""
        alone = all(sequence.chunk == 0 for sequence in self.step_prompts)
        left = request.input_tokens + request.generated - request.cached_tokens
        return self.pool.limits.whole_prompts and not alone and left > max_tokens

    def _short_of_blocks(self) -> bool:
        wanted = sum(self.needs_block(s) for s in self.running)
        return wanted > 0 and self.blocks_used + wanted > self.kv_blocks

    def _step_time_s(self) -> float:
        """Ask the profile, with the pairs of tokens that prompt attention visits counted one token at a time."""
        prompt_tokens, pairs = 0, 0.0
        for sequence in self.step_prompts:
            before = sequence.cached_tokens
            for _token in range(sequence.chunk):
                pairs += before + 0.5
                before += 1
                prompt_tokens += 1
        context = sum(s.cached_tokens for s in self.step_decodes)
        return float(self.pool.profile.step_time_s(prompt_tokens, len(self.step_decodes), context, pairs))

    def end_step(self, bin_s: float) -> None:
        """Give every decoding sequence its token, and count the chunks of the others."""
        now = self.step_ends_s
        if not self.step_decodes and not self.step_prompts:
            return
        taken_s = now - self.step_began_s
        share = self._share_of_deferrable()
        self.account.realtime_s += taken_s * (1 - share)
        self.account.deferrable_s += taken_s * share
        self._add_to_bins(now, bin_s)
        token_s = taken_s / self._step_tokens()
        for sequence in self.step_decodes:
            sequence.cached_tokens += 1
            sequence.request.spent_s += token_s
            self._generate(sequence, now)
        for sequence in self.step_prompts:
            for _token in range(sequence.chunk):
                sequence.cached_tokens += 1
                sequence.request.spent_s += token_s
            if sequence.decodes:
                self._generate(sequence, now)

    def abort(self, now: float, bin_s: float) -> None:
        """Lose the step under way, and have all that runs wait for another engine before those that waited."""
        if self.step_decodes or self.step_prompts:
            self.account.lost_s += now - self.step_began_s
            self._add_to_bins(now, bin_s)
        self.realtime = [s.request for s in self.running if not s.request.in_backfill] + self.realtime
        self.deferrable = [s.request for s in self.running if s.request.in_backfill] + self.deferrable
        self.running, self.step_decodes, self.step_prompts = [], [], []

    def _step_tokens(self) -> int:
        return len(self.step_decodes) + sum(s.chunk for s in self.step_prompts)

    def _share_of_deferrable(self) -> float:
        decodes = sum(s.request.deferrable for s in self.step_decodes)
        return (decodes + sum(s.chunk for s in self.step_prompts if s.request.deferrable)) / self._step_tokens()

    def _add_to_bins(self, now: float, bin_s: float) -> None:
        share = self._share_of_deferrable()
        add_to_bins(self.account.realtime_bins_s, bin_s, self.step_began_s, now, 1 - share)
        add_to_bins(self.account.deferrable_bins_s, bin_s, self.step_began_s, now, share)

    def _generate(self, sequence: Sequence, now: float) -> None:
        request = sequence.request
        request.generated += 1
        if math.isnan(request.first_token_s):
            request.first_token_s = now
        if request.generated == request.output_tokens:
            request.finished_s = now
            self.running.remove(sequence)
