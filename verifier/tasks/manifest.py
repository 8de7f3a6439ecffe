"""The manifest: one JSON file that describes everything about a task except its terms of payment.

Its bytes are canonical (keys sorted, no whitespace, UTF-8, integers only) and the chain stores their digest. The bytes
are untrusted input: anything that differs from the format documented here is an error.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from verifier.artifacts import digests, tensors
from verifier.artifacts.tensors import Schema, TensorSpec
from verifier.protocol.constants import MAX_URI_CHARACTERS, SCORE_BOUND
from verifier.protocol.views import Terms
from verifier.tasks.errors import ManifestError, TaskError

# Names of a task's files in the folder that `task build` writes and `task get` fills.
MANIFEST_FILE, PROGRAM_FILE, PRACTICE_FILE = "manifest.json", "program.onnx", "practice.tensors"
SEALED_FILE = "holdout.sealed"
# Maximum size of a manifest. One that describes 1,000 tensors takes about a tenth of it.
MAX_MANIFEST_BYTES = 1 << 20
# Maximum number of URIs per file. A verifier tries them in turn.
MAX_URIS = 8
# Maximum number of files of the base model: the largest published models have their weights in about 200 files.
MAX_BASE_FILES = 512
# The names that a kind can have, as a regular expression.
KIND_NAME = r"[a-z][a-z0-9-]{0,31}"
# Maximum length of an integer literal: no field holds 2^128, which has 39 digits.
_MAX_DIGITS = 40
# Maximum nesting depth of the JSON text: a manifest itself nests four levels deep.
_MAX_NESTING = 16

# Control characters and direction overrides, which could change how a terminal shows the rest of a text.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# A JSON string literal, or an unterminated one up to the end of the text: were the closing quote required, a text of
# many quotes without one would be scanned to its end from each of them.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


def _printable(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("control characters are not allowed")
    return text


Digest = Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]
Uri = Annotated[str, Field(pattern=r"^[!-~]+$", max_length=MAX_URI_CHARACTERS)]
Uris = Annotated[tuple[Uri, ...], Field(max_length=MAX_URIS)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
KindName = Annotated[str, Field(pattern=rf"^{KIND_NAME}$")]
Size = Annotated[int, Field(ge=1, le=tensors.MAX_FILE_BYTES)]
Count = Annotated[int, Field(ge=1, lt=1 << 32)]
Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Integer = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
Setting = (
    Integer
    | Text
    | Annotated[tuple[Text, ...], Field(max_length=1_000)]
    | Annotated[tuple[Integer, ...], Field(max_length=1_000)]
)


class _Part(BaseModel):
    """An object of the manifest: immutable, without type conversion, without unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ProgramEntry(_Part):
    """The exact evaluation program, an ONNX file. `uris`: where to fetch its bytes, tried in turn; may be empty."""

    digest: Digest
    size: Size  # bytes
    uris: Uris


class TensorEntry(_Part):
    """A tensor: its values are integers q of `dtype`, which represent q * 2^grid."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    grid: int

    @model_validator(mode="after")
    def _check_spec(self) -> TensorEntry:
        self.spec()
        return self

    def spec(self) -> TensorSpec:
        """Return the entry as the tensor file layer's type. Errors: SchemaError."""
        return TensorSpec(self.name, self.dtype, self.shape, self.grid)


class Practice(_Part):
    """The public set: a tensor file of the manifest's `examples` with more rows. `count`: examples without padding."""

    digest: Digest
    size: Size  # bytes
    count: Count
    uris: Uris


class Holdout(_Part):
    """The sealed evaluation set. Its layout is that of the practice set; sealing does not change the size."""

    sealed_digest: Digest
    size: Size  # bytes
    count: Count
    uris: Uris


def training_file(format: str) -> str:
    """Return the name of the file of training rows in a task's folder."""
    return f"train.{format}"


class TrainingRows(_Part):
    """For solvers: the rows that the sponsor publishes to train on, in the kind's `format`."""

    digest: Digest
    size: Size  # bytes
    count: Count  # rows
    format: Annotated[str, Field(pattern=r"^[a-z0-9]{1,8}$")]  # the file's ending, for example "tsv"
    uris: Uris

    @property
    def file(self) -> str:
        """The name of the file in the task's folder."""
        return training_file(self.format)


class Metric(_Part):
    """What the score counts: higher is better. `bound`: proven, |score over the evaluation set| <= bound."""

    name: Text  # for example "accuracy"
    unit: Text  # what a score of 1 means, for example "correct texts"
    bound: Annotated[int, Field(ge=0, lt=SCORE_BOUND)]


class BaseFile(_Part):
    """A file of the base model's folder."""

    name: FileName
    digest: Digest
    size: Size  # bytes


class Base(_Part):
    """For solvers: the model and the tokenizer that the program was built from. Verifiers need neither."""

    model: Text
    tokenizer: Text
    source: Text = ""  # where people find the model: its id on a hub, or a URL; empty when the sponsor does not say
    files: Annotated[tuple[BaseFile, ...], Field(max_length=MAX_BASE_FILES)] = ()  # a solver's copy must have these


class Manifest(_Part):
    """A task. `from_bytes` and `from_fields` raise ManifestError; the constructor raises pydantic's ValidationError."""

    version: Literal[1]
    kind: KindName  # the kind that built the task
    title: Text
    program: ProgramEntry
    submission: Annotated[tuple[TensorEntry, ...], Field(min_length=1)]  # the tensors of a submission
    examples: Annotated[tuple[TensorEntry, ...], Field(min_length=1)]  # the tensors of one batch; axis 0 is the example
    practice: Practice
    holdout: Holdout | None  # None: the practice set is the evaluation set
    training: TrainingRows | None = None  # None: the sponsor publishes no rows to train on
    batch: Annotated[int, Field(ge=1, le=1 << 16)]  # examples per run of the program
    metric: Metric
    macs: Annotated[int, Field(ge=1, lt=1 << 64)]  # multiply-accumulates of one submission over the evaluation set
    base: Base
    # What solvers and the kind's own tools need and the program does not state: rank, targets, labels … The kind's
    # model of settings types them (`registry.read_settings`); a verifier knows no kinds and checks bounded JSON only.
    settings: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")], Setting]

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        names = [tensor.name for tensor in (*self.submission, *self.examples)]
        if len(set(names)) != len(names):
            raise ValueError("submission and examples: two tensors have the same name")
        for tensor in self.examples:
            if tensor.shape[:1] != (self.batch,):
                raise ValueError(f"examples: {tensor.name}: the first dimension is not the batch of {self.batch}")
        if self.training is None and "training" in self.model_fields_set:
            raise ValueError("training: leave the field out instead of giving null")
        tensors.size(self.submission_schema)
        for label, part in (("practice", self.practice), ("holdout", self.holdout)):
            if part is not None and part.size != (implied := tensors.size(self.set_schema(part.count))):
                raise ValueError(f"{label}: {part.count} examples take a file of {implied} bytes, not {part.size}")
        return self

    @classmethod
    def from_bytes(cls, data: bytes, digest: bytes | None = None) -> Manifest:
        """Parse a file. Errors: ManifestError when its digest is not `digest` or it is not a canonical manifest."""
        if len(data) > MAX_MANIFEST_BYTES:
            raise ManifestError(f"manifest: {len(data)} bytes, at most {MAX_MANIFEST_BYTES} are allowed")
        if digest is not None and (found := digests.digest(data)) != digest:
            raise ManifestError(f"manifest: its digest is {digests.to_hex(found)}, not {digests.to_hex(digest)}")
        fields = _parse_json(data)
        if isinstance(fields, dict) and fields.get("kind") == "lora" and "adapter" in fields:
            raise ManifestError(
                "manifest: the kind 'lora' of earlier releases is now 'classify': "
                "build the task again with `touchstone task build classify`"
            )
        try:
            manifest = cls.model_validate_json(data)
        except ValidationError as error:
            raise ManifestError(f"manifest: {problems(error)}") from error
        if manifest.to_bytes() != data:
            raise ManifestError("manifest: not canonical JSON (sorted keys, no whitespace, UTF-8, integers only)")
        return manifest

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Manifest:
        """Build a manifest from dictionaries and lists laid out as the documented JSON. Errors: ManifestError."""
        try:
            data = canonical(fields)
        except (TypeError, ValueError) as error:
            raise ManifestError(f"manifest: {error}") from error
        return cls.from_bytes(data)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, which are hashed, published and fetched. Optional fields not given stay out."""
        return canonical(self.model_dump(mode="json", exclude_unset=True))

    def digest(self) -> bytes:
        """Return the 32-byte digest of the canonical bytes."""
        return digests.digest(self.to_bytes())

    def contradictions(self, terms: Terms) -> list[str]:
        """Name what the terms on chain state and this manifest states otherwise. A task with any is not judged."""
        announced = {
            "program": (self.program.digest, digests.to_hex(terms.program)),
            "practice set": (self.practice.digest, digests.to_hex(terms.practice)),
            "cost": (self.macs, terms.macs),
            "holdout": (self.holdout is not None, any(terms.holdout)),
        }
        return [name for name, (in_manifest, on_chain) in announced.items() if in_manifest != on_chain]

    @property
    def submission_schema(self) -> Schema:
        """The schema of every submission's tensor file."""
        return tuple(tensor.spec() for tensor in self.submission)

    @property
    def evaluation_count(self) -> int:
        """Number of examples in the evaluation set, without padding."""
        return self.practice.count if self.holdout is None else self.holdout.count

    def rows(self, count: int) -> int:
        """Return `padded_rows` of a set of `count` examples, with the manifest's batch."""
        return padded_rows(count, self.batch)

    def set_schema(self, count: int) -> Schema:
        """Return the schema of a set of `count` examples: the examples' tensors with the rows of whole batches."""
        rows = self.rows(count)
        return tuple(TensorSpec(t.name, t.dtype, (rows, *t.shape[1:]), t.grid) for t in self.examples)


def padded_rows(count: int, batch: int) -> int:
    """Return the number of rows of a set of `count` examples, which is padded to whole batches of `batch` rows."""
    return -(-count // batch) * batch


def load_manifest(file: Path) -> Manifest:
    """Read a manifest file. Errors: ManifestError naming the file; TaskError when the file cannot be read."""
    try:
        with file.open("rb") as opened:
            return Manifest.from_bytes(opened.read(MAX_MANIFEST_BYTES + 1))
    except ManifestError as error:
        raise ManifestError(f"{file} is not a task's manifest: {error}") from error
    except OSError as error:
        raise TaskError(f"cannot read {file}: {error.strerror}") from error


def canonical(fields: Any) -> bytes:
    """Return canonical JSON. Errors: ValueError (also UnicodeEncodeError); TypeError for values JSON cannot hold."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(
        "utf-8"
    )


def _parse_json(data: bytes) -> Any:
    """Parse the JSON text and refuse, with a clear reason, what the canonical form excludes. Errors: ManifestError."""
    try:
        text = data.decode("utf-8")
        if nesting(text) > _MAX_NESTING:
            raise ManifestError("manifest: nested too deeply")
        return json.loads(
            text,
            object_pairs_hook=_no_duplicates,
            parse_int=_bounded_int,
            parse_float=_no_fraction,
            parse_constant=_no_fraction,
        )
    except UnicodeDecodeError as error:
        raise ManifestError(f"manifest: not UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise ManifestError(f"manifest: not JSON: {error}") from error


def nesting(text: str) -> int:
    """Return how deeply a JSON text nests.

    Callers check it before they parse: the parser recurses on the C stack, and where a library raises Python's
    recursion limit, untrusted brackets could otherwise crash the process.
    """
    depth = deepest = 0
    for character in _STRING.sub("", text):
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in pairs:
        if key in fields:
            raise ManifestError(f"manifest: the key {key[:80]!a} occurs twice in one object")
        fields[key] = value
    return fields


def _bounded_int(literal: str) -> int:
    if len(literal) > _MAX_DIGITS:
        raise ManifestError(f"manifest: an integer literal of {len(literal)} digits, at most {_MAX_DIGITS} are allowed")
    return int(literal)


def _no_fraction(literal: str) -> NoReturn:
    raise ManifestError(f"manifest: {literal[:40]} is not an integer, and other numbers are not allowed")


def problems(error: ValidationError) -> str:
    """Describe up to five errors in one line, by field, without the untrusted values. Unions report once per field."""
    lines: dict[str, str] = {}
    for item in error.errors(include_input=False, include_url=False):
        where = ".".join(ascii(str(step))[1:-1][:80] for step in item["loc"])
        lines.setdefault(where, f"{where}: {item['msg']}" if where else item["msg"])
    shown = list(lines.values())[:5]
    return "; ".join(shown) + (f"; and {len(lines) - 5} more" if len(lines) > 5 else "")
