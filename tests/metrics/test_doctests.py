"""The examples in the docstrings of metrics and measurement are true."""

import doctest
import importlib
import pkgutil

import pytest

import cellmill.measurement
import cellmill.metrics

MODULES = [
    module.name
    for package in (cellmill.metrics, cellmill.measurement)
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + ".")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
