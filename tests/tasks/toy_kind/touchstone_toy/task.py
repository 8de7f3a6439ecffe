"""Builds a `toy` task and makes submissions to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from touchstone_toy.kind import ToyOptions, ToySettings
from verifier.artifacts import tensors
from verifier.artifacts.new_files import check_new
from verifier.artifacts.tensors import TensorSpec
from verifier.exact import load_program
from verifier.tasks import (
    ExampleSet,
    Manifest,
    OnStep,
    Packed,
    TaskDraft,
    padded_rows,
    read_settings,
    summarise,
    write_task,
)
from verifier.tasks.errors import PackError


def build(options: ToyOptions, out: Path, on_step: OnStep) -> dict[str, Any]:
    """Write a task whose examples are random integers."""
    check_new(out)
    on_step("prove the program", 0, 1)
    data = _program(options.features, options.batch)
    rng = np.random.default_rng(options.seed)
    draft = TaskDraft(
        kind="toy",
        title=options.title,
        program=load_program(data),
        program_file=data,
        submission=(TensorSpec("w", "int16", (options.features,), 0),),
        practice=_examples(options, options.practice, rng),
        holdout=_examples(options, options.holdout, rng) if options.holdout else None,
        batch=options.batch,
        metric="sum",
        unit="points",
        model="none",
        tokenizer="none",
        settings=ToySettings(features=options.features),
        url=options.url,
    )
    return summarise(write_task(draft, out), out)


def pack(path: Path, manifest: Manifest) -> Packed:
    """Read a JSON list of integers. Errors: PackError."""
    settings = read_settings(ToySettings, "toy", manifest)
    weights = json.loads(path.read_text())
    if len(weights) != settings.features:
        raise PackError(f"{path}: {len(weights)} weights, the task needs {settings.features}")
    data = tensors.encode(manifest.submission_schema, {"w": np.array(weights, np.int16)})
    return Packed(data, {"largest": max(map(abs, weights))})


def _examples(options: ToyOptions, count: int, rng: np.random.Generator) -> ExampleSet:
    """Small integers [rows, features]; the rows that fill the last batch are zero and score nothing."""
    rows = np.zeros((padded_rows(count, options.batch), options.features), np.int16)
    rows[:count] = rng.integers(-9, 10, (count, options.features))
    return ExampleSet({"x": rows}, count)


def _program(features: int, batch: int) -> bytes:
    """An exact program: score = the sum over the batch of x·w."""
    constants = {"column": np.array([features, 1]), "axes": np.array([0, 1])}
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["w"], ["w_float"], to=TensorProto.DOUBLE),
            helper.make_node("Cast", ["x"], ["x_float"], to=TensorProto.DOUBLE),
            helper.make_node("Reshape", ["w_float", "column"], ["w_column"]),
            helper.make_node("MatMul", ["x_float", "w_column"], ["products"]),
            helper.make_node("ReduceSum", ["products", "axes"], ["score"], keepdims=1),
        ],
        "toy",
        [
            helper.make_tensor_value_info("w", TensorProto.INT16, [features]),
            helper.make_tensor_value_info("x", TensorProto.INT16, [batch, features]),
        ],
        [helper.make_tensor_value_info("score", TensorProto.DOUBLE, [1, 1])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data
