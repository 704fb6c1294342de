"""What a parameter means is said once, and each parameter of a pipeline is explained."""

import re
from collections import Counter

import pytest
import yaml

from launch import ROOT
from launch.compiling.compiled import pipeline_names
from pipelines.described import SHARED, described


def parameters(name):
    text = (ROOT / "pipelines" / name / "pipeline.yaml").read_text()
    root = next(yaml.safe_load_all(text))["root"]
    return root["inputDefinitions"]["parameters"]


@pytest.mark.parametrize("name", pipeline_names())
def test_each_parameter_is_explained_and_none_twice(name):
    source = (ROOT / "pipelines" / name / "pipeline.py").read_text()
    for parameter, about in parameters(name).items():
        assert about.get("description"), parameter
    for parameter, text in SHARED.items():
        own = re.search(rf"^ +{parameter}: ((?:.*\n)(?: {{16}}.*\n)*)", source, re.MULTILINE)
        assert own is None or " ".join(own[1].split()) != text, parameter


def test_what_is_shared_is_shared():
    used = Counter(
        parameter
        for name in pipeline_names()
        for parameter, about in parameters(name).items()
        if about["description"] == SHARED.get(parameter)
    )
    assert {name for name in SHARED if used[name] < 2} == set()


def test_own_words_go_first_and_what_nobody_explains_is_refused():
    @described
    def one(mpp, items, z):
        """Do.

        Args:
            items: Mine,
                on two lines.

        Returns:
            out: It.
        """

    assert one.__doc__.count("items:") == 1
    assert f"    mpp: {SHARED['mpp']}\n" in one.__doc__
    assert "    items: Mine,\n        on two lines.\n\nReturns:\n    out: It." in one.__doc__

    def two(nobody_knows):
        """Do."""

    with pytest.raises(LookupError, match="pipeline two: nothing says what 'nobody_knows' means"):
        described(two)
