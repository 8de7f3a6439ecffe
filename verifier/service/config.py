"""The service's configuration: one TOML file, every field documented where it is declared.

Paths are relative to the configuration file. Three environment variables override it, so that one file can serve
several machines: TOUCHSTONE_RPC_URL, TOUCHSTONE_KEYSTORE and TOUCHSTONE_PASSWORD_FILE.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from eth_utils.address import is_address, to_checksum_address
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from verifier.execution.sandbox import SandboxLimits
from verifier.service.errors import Stop

GIGABYTE = 1 << 30
GWEI = 10**9

OVERRIDES = {
    "TOUCHSTONE_RPC_URL": ("chain", "rpc_url"),
    "TOUCHSTONE_KEYSTORE": ("operator", "keystore"),
    "TOUCHSTONE_PASSWORD_FILE": ("operator", "password_file"),
}


def _address(text: str) -> str:
    if not is_address(text):
        raise ValueError("is no address")
    return to_checksum_address(text)


def _from_config(path: Path, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / path.expanduser()


Address = Annotated[str, AfterValidator(_address)]
LocalPath = Annotated[Path, AfterValidator(_from_config)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """A table of the file; what it does not know is an error, not a surprise later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ChainConfig(Section):
    """Which chain and contracts."""

    rpc_url: str
    chain_id: int
    bounties: Address
    from_block: int = Field(default=0, ge=0)  # where the contracts' history starts: the block Stakes was deployed in
    confirmations: int = Field(default=2, ge=0)  # blocks on top before anything is believed
    poll_s: float = Field(default=4.0, gt=0)  # pause between ticks
    log_span: int = Field(default=2_000, ge=1)  # blocks per log query
    timeout_s: float = Field(default=20.0, gt=0)  # per request


class OperatorConfig(Section):
    """Who acts. Without a keystore the service is dry: it does everything but sign, for `address`."""

    seed_file: LocalPath  # 32 bytes in hex, backed up: votes are revealed with what is derived from it
    keystore: LocalPath | None = None
    password_file: LocalPath | None = None
    address: Address | None = None


class StoreConfig(Section):
    """What is kept on disk, and whose hosts may be asked for it."""

    max_file_bytes: int = Field(default=4 * GIGABYTE, gt=0)  # no artifact larger than this is fetched
    max_bytes: int = Field(default=64 * GIGABYTE, gt=0)  # nothing more is fetched once this much is kept
    timeout_s: float = Field(default=600.0, gt=0)  # one file from one place; a small file gets less
    ipfs_gateway: str | None = None  # URL of the gateway that ipfs:// is fetched through; none: it is not followed
    allow_hosts: tuple[str, ...] = ()  # "host" or "host:port" that may be local or private; a demo's own servers


class ListenConfig(Section):
    """Where a server listens; port 0 picks a free one."""

    host: str = "127.0.0.1"
    port: Port = 0


class MirrorConfig(ListenConfig):
    """The public side: /artifacts/<digest> of live tasks."""

    requests_per_minute: int = Field(default=120, ge=1)  # per remote address


class SandboxConfig(Section):
    """Limits of one evaluation."""

    memory_bytes: int = Field(default=8 * GIGABYTE, gt=0)  # address space of the child process
    macs_per_second: int = Field(default=50_000_000, gt=0)  # slowest speed believed: CPU time = floor + MACs / this
    cpu_floor_s: int = Field(default=120, gt=0)  # imports, parsing, proofs and session set-up
    attempts: int = Field(default=3, ge=1)  # runs of one evaluation that may fail before the service abstains
    retry_pause_s: float = Field(default=60.0, ge=0)  # between a run that failed and the next
    threads: int = Field(default=1, ge=1)  # of one evaluation; they cannot change a bit of it

    def limits(self) -> SandboxLimits:
        """What one evaluation may use."""
        return SandboxLimits(self.memory_bytes, self.macs_per_second, self.cpu_floor_s, self.threads)


class FeesConfig(Section):
    """What a transaction may cost."""

    max_fee_gwei: float = Field(default=500.0, gt=0)
    stuck_s: float = Field(default=90.0, gt=0)  # without a receipt for this long: sent again with higher fees

    @property
    def max_fee(self) -> int:
        """The cap in wei per gas."""
        return int(self.max_fee_gwei * GWEI)


class DutiesConfig(Section):
    """How duties are timed, and which are taken that anybody could do."""

    open_calls: bool = True  # convene, draw, close_attestation, settle, cancel, claim and close_vote
    stagger_s: float = Field(default=20.0, ge=0)  # committee members wait their turn, so that they do not all pay
    attest_margin_s: float = Field(default=900.0, gt=0)  # attest an incomplete list this long before the window ends
    fetch_pause_s: float = Field(default=30.0, gt=0)  # between attempts to get one file


class LogConfig(Section):
    """`auto` is console on a terminal and JSON lines elsewhere."""

    format: Literal["auto", "json", "console"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Section):
    """Everything. `data` is the folder of the journal and the artifacts."""

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


def load_config(path: Path, environment: dict[str, str] | None = None) -> Config:
    """Read a configuration. Errors: Stop, naming the file and every wrong field."""
    environment = dict(os.environ) if environment is None else environment
    try:
        tables: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Stop(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Stop(f"{path} is no TOML: {error}") from error
    for variable, (section, field) in OVERRIDES.items():
        if variable in environment and isinstance(tables.setdefault(section, {}), dict):
            tables[section][field] = environment[variable]
    try:
        return Config.model_validate(tables, context={"folder": path.resolve().parent})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise Stop(f"{path}: {problems}") from error
