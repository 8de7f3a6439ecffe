"""Exports a torch model as an ONNX graph that has the tensors of a submission among its inputs."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from verifier.artifacts.tensors import Schema, TensorSpec
from verifier.tasks.errors import BuildError

# Version of ONNX's operator set that the graph uses: the one that torch's exporter produces without a conversion.
_OPSET = 18


@dataclass(frozen=True)
class ExportedModel:
    """A model in float32 as an ONNX graph. Its inputs are the examples' tensors, then those of a submission."""

    graph: onnx.ModelProto
    submission: Schema


class _Functional(nn.Module):
    """A model as a function of its inputs and of the tensors of a submission."""

    def __init__(self, model: nn.Module, parameters: Sequence[str]) -> None:
        super().__init__()
        self.model, self.parameter_names = model, parameters

    def forward(self, *tensors: Tensor) -> Any:
        inputs = tensors[: len(tensors) - len(self.parameter_names)]
        submission = dict(zip(self.parameter_names, tensors[len(inputs) :], strict=True))
        return torch.func.functional_call(self.model, submission, inputs)


def export(
    model: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], trained: Mapping[str, TensorSpec]
) -> ExportedModel:
    """Export the model for inputs of exactly these shapes; `outputs` names what the model returns.

    `trained` are the tensors of a submission by the name of the model's parameter. The scaling of a LoRA adapter must
    be 1 (`alpha` = `rank`): `pack` multiplies a submission's scaling into its tensors.
    Errors: BuildError when torch cannot export the model.
    """
    model.eval()
    parameters = dict(model.named_parameters())
    example = (*inputs.values(), *(parameters[name].detach().clone() for name in trained))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            exported = torch.onnx.export(
                _Functional(model, list(trained)).eval(),
                example,
                dynamo=True,
                opset_version=_OPSET,
                input_names=[*inputs, *(spec.name for spec in trained.values())],
                output_names=list(outputs),
                verbose=False,
            )
        except Exception as error:  # torch.export raises errors of many types
            raise BuildError(f"torch cannot export this model: {str(error).splitlines()[0]}") from error
    assert exported is not None
    return ExportedModel(exported.model_proto, tuple(trained.values()))
