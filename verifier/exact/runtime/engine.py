"""The engine: run an exact program on onnxruntime.

The engine emits its own graph from the Program, so that untrusted bytes never reach onnxruntime, and it pins the
session's options. With graph optimisations on, stock onnxruntime returns wrong integers for exact graphs: it fuses a
transposed product with a vector wrongly, and rounds scales to float32. They are off, which costs no measurable time.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.errors import SelfTestError
from verifier.exact.program import Program, Tensor
from verifier.exact.program.reference import check_feeds
from verifier.exact.program.values import FLOAT
from verifier.exact.runtime.byte_emission import BytesExact
from verifier.exact.runtime.byte_products import exact_here
from verifier.exact.runtime.convolution_emission import BlockFinder
from verifier.exact.runtime.convolution_kernels import block_here
from verifier.exact.runtime.emission import emit
from verifier.exact.runtime.session import PROVIDER, ort, session_options

# Number of elements of an output that are converted to integers at a time: the numbers in between take 512 KiB.
CONVERTED_ELEMENTS = 2**16


class Engine:
    """A program loaded into onnxruntime. One engine must not be used by several threads at once."""

    def __init__(
        self,
        program: Program,
        threads: int = 1,
        bytes_exact: BytesExact | None = None,
        find_block: BlockFinder | None = None,
    ) -> None:
        """Emit the program's graph and load it.

        `threads` is the number of threads that compute one operator; the results are the same for any number.
        `bytes_exact` tells in which shapes products of bytes are right, and `find_block` in which shapes float32
        convolutions are, and how; by default this machine is tested.

        Errors: SelfTestError when onnxruntime does not run on its CPU provider alone.
        """
        self.program = program
        model, constants = emit(
            program,
            bytes_exact or partial(exact_here, threads=threads),
            find_block or partial(block_here, threads=threads),
        )
        # OrtValues use these arrays in place. onnxruntime would copy initialisers, even those of an external file.
        self._constants = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in constants.items()}
        self._session = ort.InferenceSession(model.SerializeToString(), session_options(threads), providers=[PROVIDER])
        if self._session.get_providers() != [PROVIDER]:
            raise SelfTestError(f"onnxruntime runs on {self._session.get_providers()}, not on {PROVIDER} alone")

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.int64]]:
        """Evaluate the program.

        `feeds` maps input names to arrays of the declared dtype and shape. Returns the integers q of each output as
        int64, in the program's order: a float64 output has the values q * 2**grid. Errors: FeedError.
        """
        checked = check_feeds(self.program, feeds)
        names = [f"out{number}" for number in range(len(self.program.outputs))]
        inputs = {
            f"in{number}": ort.OrtValue.ortvalue_from_numpy(np.require(array, requirements="C"))
            for number, array in enumerate(checked.values())
        }
        results = self._session.run_with_ort_values(names, inputs | self._constants)
        return {
            item.name: _q(item, self.program.values[item.name].magnitude, value.numpy())
            for item, value in zip(self.program.outputs, results, strict=True)
        }


def _q(item: Tensor, magnitude: int, array: NDArray[Any]) -> NDArray[np.int64]:
    """The integers of an output, of which none is larger than `magnitude`. -0.0 becomes 0 before anything is hashed.

    Those of a float64 output take the place of its numbers, so that a large output is in memory once. The sum of a
    number and 1.5 * 2**52 steps has the number's q in the lowest bits, which is faster to read than a cast.
    """
    if item.dtype != FLOAT:
        return array.astype(np.int64, copy=False)
    numbers, integers = array.reshape(-1), array.reshape(-1).view(np.int64)
    offset = np.ldexp(1.5, 52 + item.grid)
    for start in range(0, array.size, CONVERTED_ELEMENTS):
        block = slice(start, start + CONVERTED_ELEMENTS)
        if magnitude < 2**51:
            numbers[block] += offset
            integers[block] -= offset.view(np.int64)
        else:
            integers[block] = np.ldexp(numbers[block], -item.grid)
    return integers.reshape(array.shape)
