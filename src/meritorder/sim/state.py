"""The memory of the compiled simulator: one array of records for each kind of thing.

A record fits in a few cache lines, and a compiled function takes a handful of arrays instead of seventy columns: Numba
then compiles in ten seconds instead of three minutes.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]
Records = NDArray[np.void]

# Constants are NumPy integers: Numba compiles a function again for each Python integer that it is called with.

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

# Lanes; also the numbers of a replica's two queues.
REALTIME: Final = np.int64(0)
DEFERRABLE: Final = np.int64(1)

NONE: Final = np.int64(-1)

# Load of a replica that takes no new requests.
CLOSED: Final = np.int64(1 << 60)

MAX_ACCESSES: Final = 32
MAX_SEQS: Final = 1024
MAX_STEP_TOKENS: Final = 32_768
MAX_BLOCK_TOKENS: Final = 256
MAX_SLOTS: Final = 1 << 20
MAX_BACKFILL_SLOTS: Final = 24_576
MAX_LIFETIMES: Final = 1024
MAX_CEILINGS: Final = 4096
STABILIZATION_TICKS: Final = 1024
DUE_BUCKETS: Final = 1024

REQUEST: Final = np.dtype(
    [
        ("arrived_s", "f8"),
        ("admitted_s", "f8"),
        ("first_token_s", "f8"),
        ("finished_s", "f8"),
        ("work_s", "f8"),  # seconds of a saturated replica that it takes
        ("spent_s", "f8"),  # replica time spent on it before it was preempted
        ("ttft_limit_s", "f4"),  # beyond these it breaks its SLO for certain
        ("tpot_limit_s", "f4"),
        ("input_tokens", "i4"),
        ("cached_tokens", "i4"),
        ("output_tokens", "i4"),
        ("generated", "i4"),
        ("next", "i4"),  # the request behind it in its queue
        ("replica", "i4"),
        ("attempts", "i4"),
        ("deferrable", "i4"),  # the lane that its time is accounted to
        ("access", "i4"),  # the bit of `permits` that says where it may run
        ("lane", "i4"),  # the lane that it is served in: deferrable until it is urgent
    ],
    align=True,
)

REPLICA: Final = np.dtype(
    [
        ("pool", "i8"),
        ("instance", "i8"),
        ("run_start_s", "f8"),
        ("run_steps", "i8"),  # steps of the run under way
        ("run_batch", "i8"),  # decoding sequences that get a token in each of its steps
        ("run_prompt", "i8"),  # prompt tokens in its only step, 0 if it has decode steps alone
        ("run_prompt_deferrable", "i8"),
        ("decoding", "i8"),
        ("decoding_deferrable", "i8"),
        ("running", "i8"),
        ("waiting", "i8"),
        ("blocked", "i8"),  # has a free sequence, but no memory, for the first request of the backlog
        ("prefilling", "i8"),  # sequences whose prompt is not computed yet
        ("free_seqs", "i8"),
        ("kv_tokens", "i8"),
        ("step", "i8"),
        ("blocks_used", "i8"),
        ("share_s", "f8"),  # integral of step time over tokens in the step: the cost of decoding since the start
        ("head", "i4", (2,)),  # its queues, by lane
        ("tail", "i4", (2,)),
        ("crossing", "i4", (MAX_BLOCK_TOKENS,)),  # sequences that need a new block, by remainder of the step
        ("finish_heap", "i4", (MAX_SEQS,)),  # decoding sequences, by finish_step
        ("free_seq", "i4", (MAX_SEQS,)),  # stack of free sequences
        ("prefill_seq", "i4", (MAX_SEQS,)),  # sequences whose prompt is not computed yet, in order of admission
        # by sequence, as many as max_num_seqs:
        ("finish_step", "i8", (MAX_SEQS,)),  # step at which it completes
        ("seq_request", "i4", (MAX_SEQS,)),
        ("seq_prompt_left", "i4", (MAX_SEQS,)),  # prompt tokens not computed yet
        ("seq_chunk", "i4", (MAX_SEQS,)),  # tokens of its prefill chunk in the step under way
        ("seq_context", "i8", (MAX_SEQS,)),  # tokens in the cache when decoding began, or prompt tokens so far
        ("seq_began", "i8", (MAX_SEQS,)),  # step at which decoding began, NONE during its prompt
        ("seq_order", "i8", (MAX_SEQS,)),  # rank of its admission
        ("seq_cost_s", "f8", (MAX_SEQS,)),  # replica time spent; during decoding, less `share_s` when that began
    ],
    align=True,
)

INSTANCE: Final = np.dtype([("state", "i8"), ("ready_s", "f8"), ("paid_from_s", "f8"), ("ends_s", "f8")], align=True)

POOL: Final = np.dtype(
    [
        # engine
        ("kv_blocks", "i8"),
        ("block_tokens", "i8"),
        ("state_blocks", "i8"),  # memory of a running sequence beside its context
        ("max_seqs", "i8"),
        ("prefill_first", "i8"),  # a step has prompts or decodes, never both
        ("whole_prompts", "i8"),  # a step splits no prompt unless it is the only one in it
        ("grows", "i8"),  # a sequence takes memory as it generates; else for all of its output when it is admitted
        ("max_tokens", "i8"),
        ("per_pair_s", "f8"),
        # what it serves
        ("realtime", "i8"),  # accesses that it serves in real time, a bit each
        ("permits", "i8"),  # accesses that may run here, a bit each
        ("backfill_sequences", "i8"),  # sequences up to which deferrable work joins now, 0 if none does
        ("backfill_tokens", "i8"),  # prompt tokens of deferrable work in one step
        ("backfill_blocks", "i8"),  # memory up to which deferrable work joins other work now
        # machines
        ("instances", "i8"),
        ("first_instance", "i8"),
        ("first_replica", "i8"),
        ("replicas_per_instance", "i8"),
        ("startup_s", "f8"),
        ("startup_paid_s", "f8"),
        ("minimum_billing_s", "f8"),
        # scaling
        ("scaling", "i8"),
        ("initial", "i8"),  # instances on at time 0
        ("minimum", "i8"),
        ("target", "f8"),  # requests in flight per replica (CONCURRENCY), or margin in seconds (DEADLINES)
        ("stabilization_ticks", "i8"),
        ("slots", "i8"),
        ("slot_s", "f8"),
        ("first_slot_s", "f8"),  # when the first slot begins, not after time 0
        ("ahead_s", "f8"),  # instances are rented this long before their slot
        ("first_scheduled", "i8"),  # place of the first slot in the schedule
        ("backfill_by_slot", "i8"),  # whether the limits on deferrable work change by slot; the last is beyond them:
        ("sequences_in_slot", "i4", (MAX_BACKFILL_SLOTS + 1,)),
        ("blocks_in_slot", "i8", (MAX_BACKFILL_SLOTS + 1,)),
        ("wanted_history", "i4", (STABILIZATION_TICKS,)),
        # step times
        ("decode_base_s", "f8", (MAX_SEQS + 1,)),
        ("decode_per_kv_s", "f8", (MAX_SEQS + 1,)),
        ("mixed_base_s", "f8", (MAX_STEP_TOKENS + MAX_SEQS + 1,)),
        # interruptions
        ("lifetimes", "i8"),  # number of lifetimes drawn for instances, 0 if they never end
        ("lifetime_s", "f8", (MAX_LIFETIMES,)),
        ("notice_s", "f8"),
        ("ceiling", "i8"),  # instances that the provider allows now
        ("ceilings", "i8"),  # changes of the ceiling
        ("past_ceilings", "i8"),  # changes so far
        ("ceiling_from_s", "f8", (MAX_CEILINGS,)),
        ("ceiling_from", "i4", (MAX_CEILINGS,)),
        # account
        ("started", "i8"),
        ("interruptions", "i8"),
        ("counted_by", "i8"),  # the pool that counts the requests in flight here; by pool:
        ("in_flight", "i8"),
        ("peak_in_flight", "i8"),
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


FLEET: Final = np.dtype(
    [
        ("tick_s", "f8"),
        ("horizon_s", "f8"),  # instances that are always on are paid until here
        ("give_up_s", "f8"),  # end of the simulation, whatever is not served by then
        ("bin_s", "f8"),
        ("due_bucket_s", "f8"),
        ("queued", "i8"),  # requests in the backlog
        ("accesses", "i8"),  # number of accesses; by access:
        ("first", "i8", (MAX_ACCESSES,)),  # start of its heap in the backlog
        ("heap", "i8", (MAX_ACCESSES,)),  # requests in the heap
        ("due_requests", "i8", (MAX_ACCESSES, DUE_BUCKETS)),  # of these, by latest start
        ("due_work_s", "f8", (MAX_ACCESSES, DUE_BUCKETS)),  # their work
        ("admissions", "i8"),
        ("done", "i8"),
        ("broken", "i8"),  # requests that broke their SLO for certain, and the most that may
        ("may_break", "i8"),
        ("preemptions", "i8"),
        ("blocked", "i8"),  # blocked replicas
        ("ticking", "i8"),  # whether anything is decided by the clock
        ("last_tick", "i8"),  # the last tick that was not skipped
        ("changed", "i8"),  # whether it started or stopped an instance
    ],
    align=True,
)


class KernelState(NamedTuple):
    """The state of a simulation: N requests, P pools, I instances, R replicas, B time bins, S slots of all pools.

    The tournament has R leaves, rounded up to a power of two.
    """

    requests: Records  # (N,)
    latest_start_s: Floats  # (N,): key of the backlog
    backlog: Ints32  # (deferrable,): heaps of requests that no replica holds, one for each access
    replicas: Records  # (R,)
    loads: Ints  # (R,): what routing balances, CLOSED unless the instance is on
    run_end_s: Floats  # (leaves,): end of the run under way, infinity if the replica is idle
    winners: Ints32  # (2 leaves,): tournament over the ends of runs (runs.py)
    instances: Records  # (I,)
    pools: Records  # (P,)
    schedule: Ints32  # (S,): instances wanted in each slot of a pool, or the fewest (CONCURRENCY)
    bins: Floats  # (P, 3, B): real-time work, deferrable work, paid time
    fleet: Records  # (1,)
