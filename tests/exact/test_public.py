"""The public surface of verifier.exact: every name is there and documented, and the example in its docstring runs."""

import doctest
import inspect
import subprocess
import sys

import pytest

import verifier.exact


@pytest.mark.parametrize("name", verifier.exact.__all__)
def test_name__of_the_public_surface__can_be_imported_and_is_documented(name: str) -> None:
    found = getattr(verifier.exact, name)
    assert inspect.getdoc(found)
    assert f"`{name}`" in (verifier.exact.__doc__ or "")


@pytest.mark.parametrize("name", ["Engine", "Program", "self_test", "compare", "lower", "load_program"])
def test_method__of_a_public_name__is_documented(name: str) -> None:
    found = getattr(verifier.exact, name)
    members = {found} if inspect.isfunction(found) else {item for key, item in vars(found).items() if key[0] != "_"}
    assert [item for item in members if callable(item) and not inspect.getdoc(item)] == []


def test_name__that_is_not_exported__is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="^module 'verifier.exact' has no attribute 'outputs_digest'$"):
        verifier.exact.outputs_digest  # noqa: B018  (reading it is the test)


def test_docstring__of_the_package__is_an_example_that_runs() -> None:
    failed, attempted = doctest.testmod(verifier.exact)
    assert (failed, attempted) == (0, 11)


def test_import__of_the_package__does_not_load_the_lowering() -> None:
    code = (
        "import sys, verifier.exact; print([m for m in sys.modules if 'exact.lowering' in m or 'exact.analysis' in m])"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert child.stdout == "[]\n"
