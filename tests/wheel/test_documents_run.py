"""Every example of the documents runs, in the environment that it says it needs."""

import shutil

import pytest

from cellmill.datasets import samples
from tests.documents.examples import examples_of, run_example
from tests.documents.test_documents import TEXTS


@pytest.mark.pipeline
@pytest.mark.parametrize("name", TEXTS)
def test_examples_run(environments, tmp_path, name):
    for path in samples.sample_image():
        shutil.copy(path, tmp_path)
    for example in examples_of(TEXTS[name], name):
        if example.kind == "run":
            run_example(example, tmp_path, environments.get(example.extra))


def test_the_documents_have_examples_that_run():
    kinds = [e.kind for name, text in TEXTS.items() for e in examples_of(text, name)]
    assert kinds.count("run") >= 3
