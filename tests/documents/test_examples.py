"""Examples are found whole, and one that is broken fails."""

import sys
from pathlib import Path

import pytest

from tests.documents.examples import (
    Example,
    WrongExample,
    examples_of,
    make_calls,
    run_example,
)

HERE = Path(sys.prefix)
TEXT = """
# Title

```python
print(1)
```

<!-- example: needs tensorflow -->
```console
cellmill predict
cellmill postprocess
```

1. a list

   <!-- example: clone -->
   ```console
   make run IMAGE=a.tif \\
     CHANNELS="a b"
   ```

<!-- example: cloud -->
```console
make push
```

<!-- example: shown only: the file is 80 GB -->
```python
open("slide.tif")
```

```json
{}
```
"""


def test_what_a_document_holds_is_found_in_order():
    found = examples_of(TEXT, "a.md")
    assert [(e.language, e.kind, e.extra) for e in found] == [
        ("python", "run", ""),
        ("console", "run", "tensorflow"),
        ("console", "clone", ""),
        ("console", "cloud", ""),
        ("python", "shown only", ""),
    ]
    assert found[0] == Example("a.md:5", "python", "print(1)\n")
    assert found[1].code == "cellmill predict\ncellmill postprocess\n"
    assert found[2].code.startswith("make run IMAGE=a.tif")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```python\nprint(1)\n", "a.md:1: the block is not closed"),
        ("```bash\nls\n```\n", "found 'bash'"),
        ("```\nls\n```\n", "found ''"),
        ("<!-- example: clone -->\n\n```python\n```\n", "a.md:1: expected a fenced block"),
        ("<!-- example: clone -->", "expected a fenced block"),
        ("<!-- example: clon -->\n```python\n```\n", "expected needs EXTRA, clone"),
        ("<!-- example: shown only: -->\n```python\n```\n", "REASON"),
        ("<!-- example: clone --> so\n```python\n```\n", "alone on its line"),
        ("<!-- example: clone -->\n```json\n```\n", "not run in any case"),
    ],
)
def test_what_is_not_understood_is_not_passed_over(text, said):
    with pytest.raises(WrongExample, match=said):
        examples_of(text, "a.md")


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "import a_package_that_is_not_there\n"),
        ("python", "assert 1 == 2\n"),
        ("console", "false\ntrue\n"),
        ("console", "false | true\n"),
        ("console", 'echo "$A_VARIABLE_THAT_IS_NOT_SET"\n'),
        ("console", "a-command-that-is-not-there\n"),
    ],
)
def test_a_broken_example_fails_and_is_named(tmp_path, language, code):
    with pytest.raises(WrongExample, match=r"a\.md:7: ended with"):
        run_example(Example("a.md:7", language, code), tmp_path, HERE)


def test_examples_share_a_folder_and_use_the_environment_of_theirs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    first = (
        "import sys\nassert '/elsewhere' not in sys.path\nopen('prefix', 'w').write(sys.prefix)\n"
    )
    run_example(Example("a", "python", first), tmp_path, HERE)
    second = 'test "$(python -c \'import sys; print(sys.prefix)\')" = "$(cat prefix)"\n'
    run_example(Example("b", "console", second), tmp_path, HERE)
    assert (tmp_path / "prefix").read_text() == str(HERE)


def test_calls_of_make_are_taken_apart():
    code = "make run IMAGE='a b.tif' MPP=0.5 \\\n  CHANNELS=x\nls\nmake test\n"
    assert make_calls(code) == [("run", ["IMAGE", "MPP", "CHANNELS"]), ("test", [])]
