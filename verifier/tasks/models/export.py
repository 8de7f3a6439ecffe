"""Exports an adapted torch model as an ONNX graph whose adapter is among the inputs."""

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
from peft import PeftModel
from torch import Tensor, nn

from verifier.artifacts.tensors import Schema
from verifier.tasks.errors import BuildError
from verifier.tasks.models.adapters import trained_tensors

# Version of ONNX's operator set that the graph uses: the one that torch's exporter produces without a conversion.
_OPSET = 18


@dataclass(frozen=True)
class ExportedModel:
    """A model in float32 as an ONNX graph. Its inputs are the examples' tensors, then those of `adapter`."""

    graph: onnx.ModelProto
    adapter: Schema  # the tensors of a submission


class _Functional(nn.Module):
    """An adapted model as a function of its inputs and of its adapter's tensors."""

    def __init__(self, model: PeftModel, parameters: Sequence[str]) -> None:
        super().__init__()
        self.model, self.parameter_names = model, parameters

    def forward(self, *tensors: Tensor) -> Any:
        inputs = tensors[: len(tensors) - len(self.parameter_names)]
        adapter = dict(zip(self.parameter_names, tensors[len(inputs) :], strict=True))
        return torch.func.functional_call(self.model, adapter, inputs)


def export(model: PeftModel, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> ExportedModel:
    """Export the model for inputs of exactly these shapes; `outputs` names what the model returns.

    The adapter's scaling must be 1 (`alpha` = `rank`): `pack` multiplies a submission's scaling into its tensors.
    Errors: BuildError when torch cannot export the model.
    """
    model.eval()
    trained = trained_tensors(model)
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
