"""The tables of the gateway's configuration.

A secret is never in the file: `*_env` names an environment variable, `*_file` a file that contains it.
"""

import os
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from meritorder.errors import ConfigError
from meritorder.units import BYTES_PER_GIB, parse_duration_s

Positive = Annotated[int, Meta(gt=0)]
Text = Annotated[str, Meta(min_length=1)]

REALTIME: Final = "realtime"
DEFERRABLE: Final = "deferrable"
LOG_FORMATS: Final = ("text", "json")
WEBHOOK_FORMATS: Final = ("json", "slack")
_SQLITE: Final = "sqlite:///"
_FILE: Final = "file://"
DURATION_FIX: Final = "write 90s, 30m, 4h or 2d"


class VenueKind(StrEnum):
    """The API of a venue."""

    OPENAI = "openai"  # any server of OpenAI's API
    VLLM = "vllm"
    LLAMA_CPP = "llama.cpp"
    SGLANG = "sglang"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"


ENGINES: Final = frozenset({VenueKind.VLLM, VenueKind.LLAMA_CPP, VenueKind.SGLANG})
"""Kinds that report their load."""
PROVIDERS: Final = frozenset(VenueKind) - ENGINES  # their URLs are known


def _about(description: str) -> Meta:
    """Annotate a field with its description in the reference."""
    return Meta(description=description)


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; an unknown field is an error, since it is most likely a typo."""


class ServerTable(_Table, frozen=True):
    """The address to listen on, access and shutdown."""

    host: Annotated[str, _about("Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535), _about("Port; 0 picks a free one.")] = 8000
    drain: Annotated[str, _about("Time that in-flight requests get when the gateway stops.")] = "30s"
    require_keys: Annotated[
        bool, _about("Require an API key; without it, every client may do anything, as tenant `default`.")
    ] = True
    log: Annotated[str, _about("Format of the log on standard error: `text` or `json`.")] = "text"
    default_model: Annotated[str | None, _about("Model of responses that name none; by default the first.")] = None


class StoreTable(_Table, frozen=True):
    """Where requests, answers and files are stored."""

    url: Annotated[str, _about("Database; `postgresql://user@host/name` may be shared by several gateways.")] = (
        "sqlite:///meritorder-data/gateway.db"
    )
    blobs: Annotated[
        str,
        _about(
            "Contents of files: `file:///path` or `s3://bucket/prefix` (credentials from the environment); "
            "by default next to the SQLite file."
        ),
    ] = ""
    journal: Annotated[
        str,
        _about(
            "Folder on a local disk for ledger entries that are not in the database yet; gateways of one machine may "
            "share it. By default next to the SQLite file or the folder of blobs, or `meritorder-data/journal`."
        ),
    ] = ""
    lease: Annotated[str, _about("A gateway without a heartbeat for this long loses its leases.")] = "10s"


class RetentionTable(_Table, frozen=True):
    """How long what is stored is kept; see [operations](../how-to/operate.md)."""

    bodies: Annotated[
        str, _about("Files of any purpose, responses, completions and conversations; empty: until they are deleted.")
    ] = ""
    ledger: Annotated[str, _about("Ledger rows, in whole days, at least `2d`; their sums stay. Empty: forever.")] = ""
    sums: Annotated[str, _about("Sums by day, at least as long as rows; empty: forever.")] = ""


class LimitsTable(_Table, frozen=True):
    """Upper limits on what is accepted."""

    body_bytes: Annotated[Positive, _about("Size of a request body.")] = 64 * 1024 * 1024
    realtime_body_bytes: Annotated[
        Positive, _about("Size of the body of a real-time request, if less (Anthropic: 32 MB).")
    ] = 32 * 1024 * 1024
    file_bytes: Annotated[Positive, _about("Size of an upload (OpenAI: 200 MB).")] = 16 * BYTES_PER_GIB
    batch_lines: Annotated[Positive, _about("Requests per batch (OpenAI: 50,000).")] = 5_000_000
    line_bytes: Annotated[Positive, _about("Size of one line of a batch.")] = 16 * 1024 * 1024
    longest_window: Annotated[str, _about("Window of a batch, background response or `Meritorder-Deadline`.")] = "30d"
    request_time: Annotated[str, _about("Time for one answer of a venue.")] = "10m"
    client_time: Annotated[
        str, _about("Time for a client to send a request's head, or to continue with its body or with reading.")
    ] = "30s"
    connections: Annotated[
        Positive | None, _about("Connections of clients; by default half of the process's file descriptors.")
    ] = None
    attempts: Annotated[Positive, _about("Venue errors after which a deferrable request fails.")] = 5


class LanesTable(_Table, frozen=True):
    """The SLO of the real-time lane, and the deadlines of deferrable requests."""

    ttft: Annotated[str, _about("Real-time SLO: time to first token.")] = "2s"
    tpot: Annotated[str, _about("Real-time SLO: time per output token after the first.")] = "100ms"
    attainment: Annotated[float, Meta(gt=0, le=1), _about("Share of requests that must meet both.")] = 0.99
    flex: Annotated[
        str,
        _about("Flex requests without idle capacity: `hold` defers them, `refuse` answers 429 `resource_unavailable`."),
    ] = "hold"
    flex_deadline: Annotated[
        str, _about('Deadline of `service_tier: "flex"`, and of background responses due `soonest`.')
    ] = "10m"
    background_window: Annotated[str, _about("Window of background responses that name none.")] = "24h"
    margin: Annotated[str, _about("Requests escalate this long before their latest start.")] = "1m"
    backfill: Annotated[bool, _about("Limit backfill by the measured real-time latency.")] = True
    honor_quotes: Annotated[
        bool, _about("Charge a batch that uses a quote what was quoted, whatever it costs, also against budgets.")
    ] = False
    protect: Annotated[
        float,
        Meta(ge=0, le=1),
        _about(
            "Share of an engine's output that backfill gives up for shorter steps: 0 uses all idle capacity, "
            "1 starts nothing beside real-time requests."
        ),
    ] = 0.125


class PriceTable(_Table, frozen=True):
    """Token prices: `price` of calls, `batch_price` of the batch API, by default half of it.

    Without a price, requests have no cost in the ledger. The cheapest venues come first.
    """

    input_usd_per_mtok: Annotated[Decimal, _about("Dollars per million input tokens.")]
    cached_usd_per_mtok: Annotated[Decimal | None, _about("Dollars per million cached tokens; default: as input.")] = (
        None
    )
    output_usd_per_mtok: Annotated[Decimal, _about("Dollars per million output tokens.")] = Decimal(0)


class VenueTable(_Table, frozen=True):
    """One venue that serves requests: an engine or a provider. See [venues](venues.md)."""

    name: Annotated[Text, _about("Name in the ledger, the metrics and the log.")]
    url: Annotated[str, _about("Base URL, as official clients take it; optional for providers.")] = ""
    models: Annotated[list[str] | dict[str, str], _about('`["name"]`, or `{ public = "theirs" }`; at least one.')] = []
    kind: Annotated[str, _about(f"API: {', '.join(f'`{kind}`' for kind in VenueKind)}.")] = "openai"
    api_key_env: Annotated[str | None, _about("Environment variable with its API key.")] = None
    api_key_file: Annotated[str | None, _about("File with its API key.")] = None
    lanes: Annotated[tuple[str, ...], _about("Lanes that it serves.")] = (REALTIME, DEFERRABLE)
    fallback: Annotated[bool, _about("Only for requests that would be late elsewhere.")] = False
    max_concurrency: Annotated[
        Positive | None, _about("Concurrent requests; by default the engine's limit, or 64.")
    ] = None
    tokens_per_minute: Annotated[Positive | None, _about("Rate limit on tokens.")] = None
    responses: Annotated[
        str,
        _about(
            "How it serves `/v1/responses`: `native`; as `chat` completions, translated here, as always for llama.cpp, "
            "Anthropic and Gemini; `auto`: native if it has them."
        ),
    ] = "auto"
    max_output_tokens: Annotated[
        Positive | None, _about("Longest answer, to reserve for a call that sets no limit; by default 4,096.")
    ] = None
    priority: Annotated[bool, _about("The engine schedules by priority; requests are sent with one.")] = False
    batch: Annotated[bool, _about("Send batches with enough time through its batch API.")] = False
    batch_window: Annotated[
        str,
        _about("Completion window that its batch API promises; half of it is expected until batches have ended."),
    ] = "24h"
    batch_poll: Annotated[str, _about("Interval at which its batches are polled.")] = "30s"
    pool: Annotated[
        str | list[str],
        _about("Its names in the plan, of pools or token API tiers; by default the venue's name."),
    ] = []
    machine: Annotated[
        str, _about("Machine that it runs on, such as `runpod 2x H100 SXM`; its price is that of `meritorder prices`.")
    ] = ""
    usd_per_hour: Annotated[
        Decimal | None, _about("Dollars per hour for all that it runs on, instead of the price of `machine`.")
    ] = None
    pricing_model: Annotated[
        str, _about("How the machine is paid for: `on_demand`, `spot`, or a commitment, paid whether it runs or not.")
    ] = "on_demand"
    committed_until: Annotated[str, _about("When the commitment ends, UTC: `2027-01-31`. The ledger warns ahead.")] = ""
    minimum_billing: Annotated[
        str, _about("Shortest time that is billed for each start; by default that of `machine`, or none.")
    ] = ""
    price: PriceTable | None = None
    batch_price: PriceTable | None = None
    command: Annotated[list[str], _about("Engine to start on demand; `{port}` is a free port, in `url` too.")] = []
    start: Annotated[str, _about("Time for the command to become ready.")] = "10m"
    idle: Annotated[str, _about("Stop the command after this time without requests; empty: never.")] = "5m"

    def served(self) -> dict[str, str]:
        """Return the public model names, each with the venue's own name."""
        return dict(self.models) if isinstance(self.models, dict) else {name: name for name in self.models}

    def pools(self) -> list[str]:
        """Return the venue's names in the plan."""
        return [self.pool] if isinstance(self.pool, str) else self.pool or [self.name]

    @property
    def is_machine(self) -> bool:
        """Whether it is paid by the time of a machine."""
        return bool(self.machine) or self.usd_per_hour is not None

    @property
    def reads_load(self) -> bool:
        """Whether the venue's engine reports its load."""
        return self.kind in ENGINES


class RuleTable(_Table, frozen=True):
    """A rule that makes matching calls deferrable; every field that is given must match."""

    deadline: Annotated[str, _about("Deadline: `4h`, the next `06:00` UTC, or an instant.")]
    workload: Annotated[str, _about("Name in the ledger and in the plan.")] = ""
    model: Annotated[str | None, _about("Public model name.")] = None
    tenant: Annotated[str | None, _about("Tenant of the key.")] = None
    key: Annotated[str | None, _about("Id or name of the key.")] = None
    endpoint: Annotated[str | None, _about("Endpoint, such as `/v1/embeddings`.")] = None
    by_client: Annotated[bool, _about("Match no calls: clients mark this workload's calls as deferrable.")] = False


class WebhookTable(_Table, frozen=True):
    """A receiver of [events and alerts](../gateway.md#webhooks)."""

    url: Annotated[str, _about("URL that events are posted to.")] = ""
    url_env: Annotated[str | None, _about("Environment variable with the URL, if it is a secret as Slack's are.")] = (
        None
    )
    format: Annotated[str, _about("`json`, or `slack`: a line of text for an incoming webhook of Slack.")] = "json"
    events: Annotated[list[str], _about('Events to send, such as `["alert.*"]`; empty: all.')] = []
    secret_env: Annotated[str | None, _about("Environment variable with the `whsec_…` secret.")] = None
    secret_file: Annotated[str | None, _about("File with the secret; Slack needs neither.")] = None
    tenant: Annotated[str | None, _about("Tenant whose events are sent; by default all, and alerts.")] = None

    @property
    def target(self) -> str:
        """The URL, wherever it is written; empty if its variable is not set."""
        return self.url if self.url_env is None else os.environ.get(self.url_env, "")


class TelemetryTable(_Table, frozen=True):
    """OpenTelemetry export; the `OTEL_*` environment variables configure everything else, or all of it."""

    otlp_endpoint: Annotated[
        str,
        _about(
            "Collector, over HTTP, such as `http://localhost:4318`; by default "
            "`OTEL_EXPORTER_OTLP_ENDPOINT`, and off without either."
        ),
    ] = ""
    traces_per_second: Annotated[
        float,
        Meta(ge=0),
        _about(
            "Rate limit on traces that start here, with a burst of 60 times as many; 0: none. A call with "
            "`traceparent` is sampled as its client decides, and `OTEL_TRACES_SAMPLER` overrides this."
        ),
    ] = 10.0


class BudgetTable(_Table, frozen=True):
    """A limit on what the autopilot changes in any 24 hours; of all that apply, the most restrictive wins."""

    machines: Annotated[str, _about("Machines that may change: a share, rounded up, or a number; `0`: none.")] = ""
    usd_per_day: Annotated[Decimal | None, _about("Most that changes may add to the cost of a day.")] = None
    schedule: Annotated[str, _about("When it applies: five fields of cron, in UTC, or `@daily`; empty: always.")] = ""
    duration: Annotated[str, _about("For how long, from each time of the schedule on.")] = ""
    reasons: Annotated[list[str], _about("Reasons that it applies to; empty: all.")] = []


class AutopilotTable(_Table, frozen=True):
    """Planning again from the ledger, by `meritorder autopilot`; without budgets, 10% of the machines in 24 hours."""

    mode: Annotated[
        str, _about("`observe` records, `suggest` also writes its proposals, `apply` replaces the plan.")
    ] = "suggest"
    check: Annotated[str, _about("How often it looks at the ledger.")] = "15m"
    every: Annotated[str, _about("It plans again at the latest after this time.")] = "1d"
    history: Annotated[str, _about("How far back it reads the ledger.")] = "28d"
    ahead: Annotated[str, _about("Days to come that it plans.")] = "7d"
    demand: Annotated[float, Meta(gt=0), _about("Plan again if the tokens of a day moved by this share.")] = 0.2
    prices: Annotated[float, Meta(gt=0), _about("Plan again if a price moved by this share.")] = 0.05
    backlog: Annotated[float, Meta(gt=0), _about("Plan again if this share of a day's requests is queued.")] = 0.5
    min_saving: Annotated[float, Meta(ge=0, lt=1), _about("Change the plan only for at least this saving.")] = 0.02
    hardware: Annotated[list[str], _about("GPUs to choose from; by default those of the plan.")] = []
    providers: Annotated[list[str], _about("Providers to rent from; by default those of the plan.")] = []
    workloads: Annotated[str, _about("Workloads file of the plan, if it was made with one.")] = ""
    folder: Annotated[str, _about("Its decisions and plans; by default `autopilot` next to the SQLite file.")] = ""
    budget: list[BudgetTable] = []


class UiTable(_Table, frozen=True):
    """The web application, in a process beside the gateway; see [in a browser](../how-to/calculator.md)."""

    enabled: Annotated[bool, _about("Serve its pages at `/`, and its API at `/api`.")] = False
    digest: Annotated[str, _about("When it sends the ledger's digest to webhooks: cron, UTC: `0 8 * * mon`.")] = ""
    public: Annotated[tuple[str, ...], _about('Pages that need no signing in, such as `["calculator"]`.')] = ()


class Settings(_Table, frozen=True):
    """Settings of a gateway: at the top level of the file, the plan to execute."""

    plan: Annotated[str, _about("Plan to execute, as `--plan` ([gateway](../gateway.md)).")] = ""
    plan_start: Annotated[str, _about("Start of the plan's first slot, such as `2026-11-30T00:00:00Z`.")] = ""
    server: ServerTable = ServerTable()
    store: StoreTable = StoreTable()
    retention: RetentionTable = RetentionTable()
    limits: LimitsTable = LimitsTable()
    lanes: LanesTable = LanesTable()
    telemetry: TelemetryTable = TelemetryTable()
    autopilot: AutopilotTable = AutopilotTable()
    ui: UiTable = UiTable()
    venue: list[VenueTable] = []
    rule: list[RuleTable] = []
    webhook: list[WebhookTable] = []

    @property
    def blobs_url(self) -> str:
        """The blob store's URL: as configured, or next to the SQLite file."""
        return self.store.blobs or f"file://{self.data_folder / 'blobs'}"

    @property
    def journal_folder(self) -> Path:
        """The folder of the ledger's journals: those of one store only, whichever others share the folder."""
        folder = Path(self.store.journal) if self.store.journal else self.data_folder / "journal"
        store = self.store.url.rpartition("@")[2]
        if self.store.url.startswith(_SQLITE):
            store = str(Path(self.store.url.removeprefix(_SQLITE)).resolve())
        return folder / sha256(store.encode()).hexdigest()[:16]

    @property
    def receipt_key(self) -> Path:
        """The file of the key that receipts are signed with, next to the SQLite file or the folder of blobs."""
        return self.data_folder / "receipt.key"

    @property
    def autopilot_folder(self) -> Path:
        """The folder of the autopilot's decisions."""
        return Path(self.autopilot.folder) if self.autopilot.folder else self.data_folder / "autopilot"

    @property
    def data_folder(self) -> Path:
        """The folder of the SQLite file, or that of the folder of blobs."""
        if not self.store.url.startswith(_SQLITE) and self.store.blobs.startswith(_FILE):
            return Path(self.store.blobs.removeprefix(_FILE)).parent
        url = self.store.url if self.store.url.startswith(_SQLITE) else StoreTable().url
        return Path(url.removeprefix(_SQLITE)).resolve().parent


def duration_s(text: str) -> float:
    """Return the seconds of a duration."""
    seconds = parse_duration_s(text)
    if seconds is None:
        raise ConfigError(f"{text!r} is not a duration", fix=DURATION_FIX)
    return seconds


def read_secret(env: str | None, file: str | None, *, where: str) -> str | None:
    """Return a secret from the environment or from a file; None if neither is named."""
    if env is not None:
        value = os.environ.get(env)
        if not value:
            raise ConfigError(f"the environment variable {env} is not set", where=where, fix="set it, or name another")
        return value
    if file is not None:
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}", where=where) from error
    return None
