import importlib
import pkgutil

import pytest

import aigrid
from aigrid.core import errors
from aigrid.core.errors import AigridError


def tree(kind=AigridError):
    return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_a_type_and_says_what_it_means(kind):
    error = kind.__new__(kind)
    assert 400 <= error.status <= 599
    assert error.type
    assert kind.__doc__


def test_an_error_carries_what_the_wire_needs():
    error = errors.RateLimited("slow down", param="model", retry_after=2.5)
    assert (error.message, str(error), error.param, error.retry_after) == ("slow down", "slow down", "model", 2.5)
    assert error.code == "rate_limit_exceeded"
    assert errors.NotFound("gone", code="model_not_found").code == "model_not_found"


def test_codes_of_errors_that_clients_tell_apart_are_distinct():
    codes = [kind.default_code for kind in tree() if kind.default_code and kind.__module__ == errors.__name__]
    assert len(codes) == len(set(codes))


def test_importing_aigrid_brings_in_nothing_heavy():
    import subprocess
    import sys

    heavy = ["torch", "ray", "mujoco", "openvino", "openvino_genai", "nicegui", "psycopg", "pynvml", "matplotlib"]
    code = f"import sys, aigrid.cli; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_no_package_is_empty():
    for package in pkgutil.walk_packages(aigrid.__path__, "aigrid."):
        if package.ispkg:
            found = importlib.util.find_spec(package.name)
            names = [name for _, name, _ in pkgutil.iter_modules(found.submodule_search_locations)]
            assert names, f"{package.name} holds nothing"
