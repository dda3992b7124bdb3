"""How a replica of a pool is started: image and arguments by engine."""

from dataclasses import dataclass
from typing import Final

from meritorder.catalog import files as catalog
from meritorder.errors import CatalogError, ConfigError
from meritorder.perf.limits import SHARED_BY_RANKS
from meritorder.records.planfile import PlanPool

PORT: Final = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server of an engine.

    Args:
        image: Its container image.
        command: Its command up to the model.
        tensor_parallel: Option for the GPUs that share the attention of a sequence.
        data_parallel: Options for data-parallel attention with experts split over all GPUs; `{ranks}` and `{gpus}`
            stand for their numbers.
        sequences: Option for sequences of a step.
        step_tokens: Option for tokens of a step.
        running: PromQL for requests in flight; `{}` stands for the labels.
        pod_metric: Name under which a metrics adapter serves a pod's requests in flight.
    """

    image: str
    command: str
    tensor_parallel: str
    data_parallel: str
    sequences: str
    step_tokens: str
    running: str
    pod_metric: str


SERVERS: Final = {
    "vllm": Server(
        image="vllm/vllm-openai:v0.32.0",
        command="vllm serve",
        tensor_parallel="--tensor-parallel-size",
        data_parallel="--data-parallel-size {ranks} --enable-expert-parallel",
        sequences="--max-num-seqs",
        step_tokens="--max-num-batched-tokens",
        running="vllm:num_requests_running{} + vllm:num_requests_waiting{}",
        pod_metric="vllm_num_requests_running",
    ),
    "sglang": Server(
        image="lmsysorg/sglang:latest",
        command="python3 -m sglang.launch_server --model-path",
        tensor_parallel="--tp-size",
        data_parallel="--tp-size {gpus} --dp-size {ranks} --ep-size {gpus} --enable-dp-attention",
        sequences="--max-running-requests",
        step_tokens="--chunked-prefill-size",
        running="sglang:num_running_reqs{} + sglang:num_queue_reqs{}",
        pod_metric="sglang_num_running_reqs",
    ),
}


def server_of(pool: PlanPool) -> Server:
    """Return the server of a pool's engine.

    Raises:
        ConfigError: It is not known how to start it.
    """
    if pool.engine not in SERVERS:
        raise ConfigError(
            f"the engine {pool.engine!r} is not known here", where=pool.name, fix=f"plan with {', '.join(SERVERS)}"
        )
    return SERVERS[pool.engine]


def command(pool: PlanPool) -> list[str]:
    """Return the command that starts a replica."""
    server, ranks = server_of(pool), pool.attention_ranks
    stated = ranks if pool.engine in SHARED_BY_RANKS else 1
    options = (
        (server.tensor_parallel, pool.replica_gpus if pool.replica_gpus > 1 and ranks == 1 else 0),
        (server.sequences, pool.max_num_seqs * stated),
        (server.step_tokens, pool.max_num_batched_tokens * stated),
    )
    split = server.data_parallel.format(ranks=ranks, gpus=pool.replica_gpus).split() if ranks > 1 else []
    chosen = split + [part for option, value in options if value for part in (option, str(value))]
    host = ["--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104 - in its container
    return [*server.command.split(), weights(pool.model), *host, "--served-model-name", pool.model, *chosen]


def weights(model: str) -> str:
    """Return the name of a model's weights on the hub; the model's own name if the catalog lacks it."""
    try:
        return catalog.load().find_model(model).hf_id
    except CatalogError:
        return model
