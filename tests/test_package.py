"""What `import cellmill` offers: public names, at no cost, and only what is declared."""

import ast
import configparser
import importlib.metadata
import pkgutil
import re
import subprocess
import sys

import pytest

import cellmill
from cellmill import extras
from cellmill.errors import BadInput
from launch import ROOT

PACKAGE = ROOT / "cellmill"
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(PACKAGE)], "cellmill."))
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def test_importing_takes_no_time_and_nothing_else():
    """Neither numpy nor anything that takes its time is imported."""
    code = (
        "import time; start = time.perf_counter(); import cellmill\n"
        "print(time.perf_counter() - start)\n"
        "import sys; print(sorted({'numpy', 'numba', 'scipy', 'tifffile'} & set(sys.modules)))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    times, loaded = zip(*(run.stdout.splitlines() for run in runs), strict=True)
    assert min(map(float, times)) < 0.2
    assert set(loaded) == {"[]"}


@pytest.mark.parametrize("name", cellmill.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(cellmill, name)
    assert name in dir(cellmill)
    if name != "__version__":
        assert value.__module__.startswith("cellmill.")
        assert value.__doc__


def test_checkers_see_the_names_that_are_imported_late():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = (
        node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node)
    )
    typed = {a.name: n.module for n in block.body for a in n.names}
    assert typed == cellmill._MODULES
    assert (PACKAGE / "py.typed").is_file()


def test_no_public_name_is_a_module_too():
    """What is a function in one process and a module in the next is a trap."""
    assert not {m.split(".")[1] for m in MODULES} & set(cellmill.__all__)


def test_another_name_is_refused_as_python_does():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cellmill.nothing  # noqa: B018


def imports(path):
    """Yield the packages that a file's statements import, but those for type checkers alone."""

    def visit(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield child.module
            yield from visit(child)

    return {name.split(".")[0] for name in visit(ast.parse(path.read_text()))}


def names_of(requirements):
    """The distributions of a list of requirements in `setup.cfg`."""
    lines = requirements.strip().splitlines()
    return {re.match(r"[A-Za-z0-9._-]+", line)[0].lower() for line in lines}


def test_what_is_imported_is_declared():
    """A statement imports what is always there; what is optional goes through `extras.load`."""
    declared = names_of(SETUP["options"]["install_requires"])
    distributions = importlib.metadata.packages_distributions()
    used = {
        name: str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*.py")
        for name in imports(path)
    }
    for name in sorted(used.keys() - sys.stdlib_module_names - {"cellmill"}):
        provided = {d.lower().replace("_", "-") for d in distributions[name]}
        assert provided & declared, f"{used[name]} imports {name}, which setup.cfg does not declare"


def test_an_extra_that_is_named_is_one():
    assert set(extras.EXTRAS.values()) <= set(SETUP["options.extras_require"])


def test_a_package_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BadInput, match=r"^engine openvino: .*pip install 'cellmill\[openvino\]'"):
        extras.load("openvino", "engine openvino")


def test_a_package_that_is_damaged_is_not_said_to_be_missing(tmp_path, monkeypatch):
    (tmp_path / "openvino.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [n for n in sys.modules if n.split(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        extras.load("openvino", "engine openvino")
