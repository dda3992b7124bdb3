"""The memory of the compiled simulator.

Columns come in and columns go out; in between, what belongs together lies together: one record a request, a replica, a
seat, an instance, a pool. A record fits in one or two cache lines, and a compiled function takes a handful of arrays
rather than seventy, which is the difference between ten seconds and three minutes of compilation.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]
Records = NDArray[np.void]

# Numbers are NumPy integers because a compiled function is compiled again for each Python constant that it is given.

# States of an instance.
OFF: Final = np.int64(0)
STARTING: Final = np.int64(1)
ON: Final = np.int64(2)
DRAINING: Final = np.int64(3)

# How a pool scales.
FIXED: Final = np.int64(0)
SCHEDULED: Final = np.int64(1)
CONCURRENCY: Final = np.int64(2)
DEADLINES: Final = np.int64(3)
QUEUE: Final = np.int64(4)

# How real-time requests are routed.
LEAST_REQUESTS: Final = np.int64(0)
ROUND_ROBIN: Final = np.int64(1)
LEAST_WORK: Final = np.int64(2)
AFFINITY: Final = np.int64(3)

# Lanes, as a replica's queues are numbered.
REALTIME: Final = np.int64(0)
DEFERRABLE: Final = np.int64(1)

NONE: Final = np.int64(-1)

REQUEST: Final = np.dtype(
    [
        ("arrived_s", "f8"),
        ("admitted_s", "f8"),
        ("first_token_s", "f8"),
        ("finished_s", "f8"),
        ("work_s", "f8"),  # seconds of a saturated replica that it takes
        ("spent_s", "f8"),  # replica time that it cost before it was preempted
        ("input_tokens", "i4"),
        ("cached_tokens", "i4"),
        ("output_tokens", "i4"),
        ("generated", "i4"),
        ("next", "i4"),  # behind it in the queue that it stands in
        ("replica", "i4"),
        ("attempts", "i4"),
        ("deferrable", "i4"),  # whose account it is on
        ("access", "i4"),  # where it may run: one of the bits of `permits`
        ("session", "i4"),  # whose prefix it has, NONE if nobody's
        ("lane", "i4"),  # how it is served: deferrable until it is urgent
    ],
    align=True,
)

MOST_ACCESSES: Final = 32
MOST_SEQS: Final = 1024
MOST_STEP_TOKENS: Final = 32_768
MOST_BLOCK_TOKENS: Final = 256
MOST_SLOTS: Final = 4096
MOST_LIVES: Final = 1024
MOST_CEILINGS: Final = 4096
STABILIZATION_TICKS: Final = 1024
DUE_BUCKETS: Final = 1024

REPLICA: Final = np.dtype(
    [
        ("pool", "i8"),
        ("instance", "i8"),
        ("cache", "i8"),  # which memory it has: another one each time that its instance is rented
        ("seats", "i8"),
        ("run_start_s", "f8"),
        ("run_steps", "i8"),  # steps of the run under way
        ("run_batch", "i8"),  # decoding sequences that get tokens in it
        ("run_prompt", "i8"),  # prompt tokens in its (only) step, 0 for decode steps alone
        ("run_prompt_deferrable", "i8"),
        ("decoding", "i8"),
        ("decoding_deferrable", "i8"),
        ("running", "i8"),
        ("waiting", "i8"),
        ("held_up", "i8"),  # has a seat, but no memory, for the first of the backlog
        ("prompts", "i8"),  # sequences in their prompt
        ("free_seats", "i8"),
        ("kv_tokens", "i8"),
        ("step", "i8"),
        ("blocks_used", "i8"),
        ("work_s", "f8"),  # work of the requests that it holds
        ("share_s", "f8"),  # integral of step time over tokens in the step: what a seat has cost so far
        ("head", "i4", (2,)),  # its queues, by lane
        ("tail", "i4", (2,)),
        ("crossing", "i4", (MOST_BLOCK_TOKENS,)),  # sequences that need a block at a step of that remainder
        ("finish_heap", "i4", (MOST_SEQS,)),  # seats of decoding sequences
        ("finish_step", "i8", (MOST_SEQS,)),  # by seat: step at which the sequence completes; key of the heap
        ("free_seat", "i4", (MOST_SEQS,)),  # stack
        ("prompt_seat", "i4", (MOST_SEQS,)),  # seats in their prompt, in order of admission
        ("seat_request", "i4", (MOST_SEQS,)),
        ("seat_left", "i4", (MOST_SEQS,)),  # prompt tokens not computed yet
        ("seat_chunk", "i4", (MOST_SEQS,)),  # prompt tokens in the step under way
        (
            "seat_context",
            "i8",
            (MOST_SEQS,),
        ),  # tokens cached when decoding began, or prompt tokens computed so far
        ("seat_began", "i8", (MOST_SEQS,)),  # step at which decoding began, NONE while in its prompt
        ("seat_order", "i8", (MOST_SEQS,)),  # of admission
        (
            "seat_cost_s",
            "f8",
            (MOST_SEQS,),
        ),  # replica time spent; while it decodes, less `share_s` at the start of that
    ],
    align=True,
)

INSTANCE: Final = np.dtype([("state", "i8"), ("ready_s", "f8"), ("paid_from_s", "f8"), ("ends_s", "f8")], align=True)

POOL: Final = np.dtype(
    [
        # what it is
        ("kv_blocks", "i8"),
        ("block_tokens", "i8"),
        ("max_seqs", "i8"),
        ("prefill_first", "i8"),  # a step has prompts or decodes, never both
        ("whole_prompts", "i8"),  # a step cuts no prompt that has others beside it
        ("max_tokens", "i8"),
        ("per_pair_s", "f8"),
        ("realtime", "i8"),  # accesses that it takes in real time, a bit each
        ("permits", "i8"),  # accesses whose requests may run here, a bit each
        ("backfill_seats", "i8"),  # seats for deferrable work now, 0 if it takes none
        ("backfill_tokens", "i8"),  # prompt tokens of deferrable work in one step
        ("backfill_blocks", "i8"),  # memory up to which deferrable work joins others now
        ("instances", "i8"),
        ("first_instance", "i8"),
        ("first_replica", "i8"),
        ("pack", "i8"),  # replicas of one instance
        ("startup_s", "f8"),
        ("startup_paid_s", "f8"),
        ("minimum_billing_s", "f8"),
        # how it scales
        ("scaling", "i8"),
        ("initial", "i8"),  # instances on at time 0
        ("minimum", "i8"),
        ("target", "f8"),  # requests in flight a replica (CONCURRENCY), or margin in seconds (DEADLINES)
        ("stabilization_ticks", "i8"),
        ("slots", "i8"),
        ("slot_s", "f8"),
        ("ahead_s", "f8"),  # a slot's instances are rented so long before it
        ("schedule", "i4", (MOST_SLOTS,)),  # instances wanted
        ("fills_by_slot", "i8"),  # the room for deferrable work changes from slot to slot; the last is beyond them:
        ("seats_in_slot", "i4", (MOST_SLOTS + 1,)),
        ("blocks_in_slot", "i8", (MOST_SLOTS + 1,)),
        ("wanted_history", "i4", (STABILIZATION_TICKS,)),
        # how fast it is
        ("decode_base_s", "f8", (MOST_SEQS + 1,)),
        ("decode_per_kv_s", "f8", (MOST_SEQS + 1,)),
        ("mixed_base_s", "f8", (MOST_STEP_TOKENS + MOST_SEQS + 1,)),
        # how it is interrupted
        ("lives", "i8"),  # drawn lives of instances, 0 if they live for ever
        ("life_s", "f8", (MOST_LIVES,)),
        ("notice_s", "f8"),
        ("ceiling", "i8"),  # most instances that the provider leaves
        ("ceilings", "i8"),  # changes of the ceiling
        ("past_ceilings", "i8"),  # of these, those that have come
        ("ceiling_from_s", "f8", (MOST_CEILINGS,)),
        ("ceiling_from", "i4", (MOST_CEILINGS,)),
        # what became of it
        ("started", "i8"),
        ("interruptions", "i8"),
        ("in_flight", "i8"),
        ("in_flight_integral", "f8"),
        ("in_flight_since_s", "f8"),
        ("busy_until_s", "f8"),  # end of its last run
        ("paid_s", "f8"),
        ("realtime_s", "f8"),
        ("deferrable_s", "f8"),
        ("startup_spent_s", "f8"),
        ("lost_s", "f8"),
        ("peak_instances", "i8"),
    ],
    align=True,
)


STATE: Final = np.dtype(
    [
        ("tick_s", "f8"),
        ("horizon_s", "f8"),  # instances that are always on are paid until here
        ("give_up_s", "f8"),  # nothing is waited for beyond this
        ("bin_s", "f8"),
        ("due_bucket_s", "f8"),
        ("routing", "i8"),
        ("local_prefixes", "i8"),  # a prefix is cached on the replica that served its session last
        ("preempt", "i8"),  # real-time requests take the seat of deferrable ones
        ("queued", "i8"),  # requests in the backlog
        ("accesses", "i8"),  # how many there are; by access:
        ("turn", "i8", (MOST_ACCESSES,)),  # of round robin
        ("first", "i8", (MOST_ACCESSES,)),  # where its heap begins in the backlog
        ("heap", "i8", (MOST_ACCESSES,)),  # requests in it
        ("due_requests", "i8", (MOST_ACCESSES, DUE_BUCKETS)),  # of these, by latest start
        ("due_work_s", "f8", (MOST_ACCESSES, DUE_BUCKETS)),  # their work
        ("admissions", "i8"),
        ("caches", "i8"),  # memories of replicas so far
        ("done", "i8"),
        ("preemptions", "i8"),
        ("held_up", "i8"),  # replicas
        ("ticking", "i8"),  # something is decided by the clock
    ],
    align=True,
)


class World(NamedTuple):
    """All that is simulated: N requests, P pools, I instances, R replicas, B time bins.

    There are as many leaves as replicas, or the next power of two.
    """

    requests: Records  # (N,)
    latest_start_s: Floats  # (N,): key of the backlog
    backlog: Ints32  # (deferrable,): heaps of requests that no replica holds, one for each access
    replicas: Records  # (R,)
    next_s: Floats  # (leaves,): when the run under way ends; infinity if idle
    winners: Ints32  # (2 leaves,): whose run ends first (agenda.py)
    instances: Records  # (I,)
    pools: Records  # (P,)
    bins: Floats  # (P, 3, B): real-time work, deferrable work, paid time
    state: Records  # (1,)
    homes: Ints32  # (sessions,): `cache` of the replica that admitted it last
