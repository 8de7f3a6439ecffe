"""The service's configuration: one TOML file, with every setting documented where it is declared.

Paths are relative to the configuration file. Three environment variables override settings of the file, so that one
file can serve several machines: TOUCHSTONE_RPC_URL, TOUCHSTONE_KEYSTORE and TOUCHSTONE_PASSWORD_FILE.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from eth_utils.address import is_address, to_checksum_address
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails

from verifier.execution.sandbox import SandboxLimits
from verifier.service.errors import Stop

GIB = 1 << 30
GWEI = 10**9
# How many characters of a wrong value a message repeats.
MAX_VALUE_CHARACTERS = 60

# Environment variable -> table and setting that it overrides.
OVERRIDES = {
    "TOUCHSTONE_RPC_URL": ("chain", "rpc_url"),
    "TOUCHSTONE_KEYSTORE": ("operator", "keystore"),
    "TOUCHSTONE_PASSWORD_FILE": ("operator", "password_file"),
}


def _address(text: str) -> str:
    if not is_address(text):
        raise ValueError("not an address: write 0x and 40 hexadecimal digits")
    return to_checksum_address(text)


def _relative_to_file(path: Path, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / path.expanduser()


Address = Annotated[str, AfterValidator(_address)]
LocalPath = Annotated[Path, AfterValidator(_relative_to_file)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """A table of the file. A setting that it does not know is an error, so that a misspelt name is noticed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ChainConfig(Section):
    """Which chain and contracts."""

    rpc_url: str  # URL of a node that the operator trusts
    chain_id: int
    bounties: Address  # the Bounties contract, which leads to Panel and Stakes
    from_block: int = Field(default=0, ge=0)  # the block in which Stakes was deployed: events are read from it on
    confirmations: int = Field(default=2, ge=0)  # blocks on top of the one that is read
    poll_s: float = Field(default=4.0, gt=0)  # pause between ticks, in seconds
    log_span: int = Field(default=2_000, ge=1)  # blocks per log query
    timeout_s: float = Field(default=20.0, gt=0)  # seconds per request


class OperatorConfig(Section):
    """Who acts. Without a keystore the service is a dry run for `address`: it does everything except sign."""

    seed_file: LocalPath  # 32 bytes in hex; votes are revealed with salts derived from it, so it needs a backup
    keystore: LocalPath | None = None
    password_file: LocalPath | None = None
    address: Address | None = None


class StoreConfig(Section):
    """What is kept on disk, and from which hosts it may be fetched."""

    max_file_bytes: int = Field(default=4 * GIB, gt=0)  # a file larger than this is not fetched
    max_bytes: int = Field(default=64 * GIB, gt=0)  # nothing more is fetched once this much is kept
    timeout_s: float = Field(default=600.0, gt=0)  # seconds for one file from one place; a small file gets less
    ipfs_gateway: str | None = None  # URL of the gateway for ipfs:// URIs; without one they are not followed
    allow_hosts: tuple[str, ...] = ()  # "host" or "host:port" that may be local or private, such as a demo's servers


class ListenConfig(Section):
    """Where a server listens; port 0 picks a free one."""

    host: str = "127.0.0.1"
    port: Port = 0


class MirrorConfig(ListenConfig):
    """The public server: /artifacts/<digest> of live tasks."""

    requests_per_minute: int = Field(default=120, ge=1)  # per remote address


class SandboxConfig(Section):
    """Limits of one evaluation, and how often a failed one is repeated."""

    memory_bytes: int = Field(default=8 * GIB, gt=0)  # address space of the child process
    macs_per_second: int = Field(default=50_000_000, gt=0)  # slowest speed allowed for; see cpu_floor_s
    cpu_floor_s: int = Field(default=120, gt=0)  # CPU seconds = cpu_floor_s + declared MACs / macs_per_second
    attempts: int = Field(default=3, ge=1)  # failed runs after which the service abstains until it is restarted
    retry_pause_s: float = Field(default=60.0, ge=0)  # seconds between a failed run and the next
    threads: int = Field(default=1, ge=1)  # of one evaluation; they cannot change its result

    def limits(self) -> SandboxLimits:
        """The limits of one evaluation."""
        return SandboxLimits(self.memory_bytes, self.macs_per_second, self.cpu_floor_s, self.threads)


class FeesConfig(Section):
    """What a transaction may cost."""

    max_fee_gwei: float = Field(default=500.0, gt=0)  # maximum bid per gas
    stuck_s: float = Field(default=90.0, gt=0)  # seconds without a receipt after which fees are raised

    @property
    def max_fee(self) -> int:
        """The maximum bid in wei per gas."""
        return int(self.max_fee_gwei * GWEI)


class DutiesConfig(Section):
    """When duties are done, and whether the calls are made that anyone can make."""

    open_calls: bool = True  # convene, draw, close_attestation, settle, cancel, claim and close_vote
    stagger_s: float = Field(default=20.0, ge=0)  # seconds over which operators spread these calls
    attest_margin_s: float = Field(default=900.0, gt=0)  # an incomplete list is attested this long before the end
    fetch_pause_s: float = Field(default=30.0, gt=0)  # seconds between two attempts to fetch one file


class LogConfig(Section):
    """How the log is written: `auto` is `console` on a terminal and `json`, one object per line, elsewhere."""

    format: Literal["auto", "json", "console"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Section):
    """The whole file. `data` is the folder of the journal, the artifacts and the evaluations under way."""

    data: LocalPath
    chain: ChainConfig
    operator: OperatorConfig
    store: StoreConfig = StoreConfig()
    mirror: MirrorConfig = MirrorConfig()
    health: ListenConfig = ListenConfig()
    sandbox: SandboxConfig = SandboxConfig()
    fees: FeesConfig = FeesConfig()
    duties: DutiesConfig = DutiesConfig()
    log: LogConfig = LogConfig()


def load_config(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read a configuration file; `environment` replaces the process's own.

    Errors: Stop, which names the file and every wrong setting with what to write instead.
    """
    environment = os.environ if environment is None else environment
    try:
        tables: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Stop(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Stop(f"{path} is not valid TOML: {error}") from error
    for variable, (section, field) in OVERRIDES.items():
        if variable in environment and isinstance(tables.setdefault(section, {}), dict):
            tables[section][field] = environment[variable]
    try:
        return Config.model_validate(tables, context={"folder": path.resolve().parent})
    except ValidationError as error:
        raise Stop(f"{path}: {'; '.join(map(_problem, error.errors()))}") from error


def _problem(item: ErrorDetails) -> str:
    """One wrong setting in words: its key, what is wrong, and what to write."""
    key = ".".join(map(str, item["loc"]))
    if item["type"] == "missing":
        return f"{key}: missing; add it"
    if item["type"] == "extra_forbidden":
        return f"{key}: there is no such setting; remove it or correct its name"
    problem = item["msg"].removeprefix("Value error, ")
    value = repr(item["input"])
    if len(value) > MAX_VALUE_CHARACTERS:
        value = value[:MAX_VALUE_CHARACTERS] + "…"
    return f"{key}: {problem[0].lower()}{problem[1:]} (now {value})"
