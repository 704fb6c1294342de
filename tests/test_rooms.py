"""Imports go down: from floor to floor, from room to room, and nowhere in a circle.

`docs/architecture.md` says what floors and rooms are about. The order is read from the imports
themselves, those inside functions too.
"""

import ast
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: What imports may come from each of these; nothing else of the tree.
FLOORS = {
    "cellmill": {"cellmill"},
    "components": {"components"},
    "pipelines": {"components", "pipelines", "cellmill"},
    "launch": {"cellmill", "components", "pipelines", "launch"},
    "bench": {"cellmill", "components", "pipelines", "launch", "bench"},
    "serving": {"cellmill", "serving"},
    "napari_cellmill": {"cellmill", "napari_cellmill"},
}
#: What pipelines use of the science: one class of error, for their tables.
PIPELINES_MAY_IMPORT = {"cellmill.errors"}
#: Rooms of `cellmill/`, low to high.
ROOMS = (
    *("terminal", "errors", "extras", "typed_json", "version", "catalog"),
    *("compute", "arrays", "io", "labels", "morphology", "models"),
    *("preprocessing", "pixel_classification", "inference", "segmentation", "segmenter"),
    *("restoration", "style_transfer"),
    *("measurement", "metrics", "training", "tuning", "reporting", "exports"),
    *("datasets", "benchmark", "contract", "stages", "commands", "__main__"),
)
#: Rooms of `launch/`, low to high; above them is what a person calls.
LAUNCH_ROOMS = ("images", "compiling", "runs", "local", "cloud")
#: Who may import kfp. `cellmill.catalog` asks `cellmill.extras` for it, when it loads a component.
KFP = {"components", "pipelines", "launch"}

MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60
#: Functions that are longer. To be cut, never to be added to.
TOO_LONG = {
    "cellmill/morphology/hmaxima_kernels.py: decide",
    "pipelines/slide_segmentation/pipeline.py: build",
    "pipelines/slide_segmentation/pipeline.py: slide_segmentation",
}


@dataclass(frozen=True)
class Import:
    """One import of a module of the tree: where it stands, who imports, and what."""

    file: str
    line: int
    importer: str
    imported: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.importer} imports {self.imported}"


def sources():
    """Give every module of the tree, by its dotted name."""
    found = {}
    for top in FLOORS:
        for path in sorted((ROOT / top).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports_of(name, path, modules):
    file = path.relative_to(ROOT).as_posix()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, name, alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: an import says where the file lies"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield Import(file, node.lineno, name, full if full in modules else node.module)


MODULES = sources()
IMPORTS = [i for name, path in MODULES.items() for i in imports_of(name, path, MODULES)]


def top(module):
    return module.split(".")[0]


def room(module):
    """Give the room of a module of `cellmill` or `launch`; empty for the package itself."""
    return [*module.split("."), ""][1]


def listed(wrong):
    return "\n".join(map(str, wrong))


def test_floors_import_only_what_is_below_them():
    wrong = [i for i in IMPORTS if top(i.imported) in FLOORS]
    wrong = [i for i in wrong if top(i.imported) not in FLOORS[top(i.importer)]]
    assert not wrong, listed(wrong)


def test_pipelines_know_components_and_not_how_anything_is_computed():
    science = [
        i for i in IMPORTS if top(i.importer) == "pipelines" and top(i.imported) == "cellmill"
    ]
    wrong = [i for i in science if i.imported not in PIPELINES_MAY_IMPORT]
    assert not wrong, listed(wrong)


def test_components_import_kfp_and_read_one_lock():
    """Nothing of arrays, models or the science; PyYAML reads where container images are."""
    allowed = {"components", "kfp", "yaml", *sys.stdlib_module_names}
    wrong = [
        i for i in IMPORTS if top(i.importer) == "components" and top(i.imported) not in allowed
    ]
    assert not wrong, listed(wrong)


def test_kfp_is_imported_above_the_stages_alone():
    wrong = [i for i in IMPORTS if top(i.imported) == "kfp" and top(i.importer) not in KFP]
    assert not wrong, listed(wrong)


def test_what_is_run_by_others_is_imported_by_nothing():
    """A plugin, a server and the benchmarks are ends of their own."""
    wrong = [
        i
        for i in IMPORTS
        if top(i.imported) in ("napari_cellmill", "serving", "bench")
        and top(i.imported) != top(i.importer)
    ]
    assert not wrong, listed(wrong)


def test_every_room_has_its_place():
    rooms = {room(name) for name in MODULES if top(name) == "cellmill"} - {""}
    assert rooms <= set(ROOMS), f"give {sorted(rooms - set(ROOMS))} a place in ROOMS"


def test_rooms_import_only_rooms_below_them():
    """`cellmill/__init__.py` is the front door: it names what most people want of any room."""
    inside = [
        i
        for i in IMPORTS
        if top(i.importer) == top(i.imported) == "cellmill" and i.importer != "cellmill"
    ]
    height = {name: index for index, name in enumerate(("", *ROOMS))}
    height[""] = len(ROOMS)
    wrong = [i for i in inside if height[room(i.imported)] > height[room(i.importer)]]
    assert not wrong, listed(wrong)


def test_a_stage_is_no_library_for_others():
    """What several stages need lies in `stages/shared/`."""
    wrong = [
        i
        for i in IMPORTS
        if i.imported.startswith("cellmill.stages.")
        and not i.imported.startswith("cellmill.stages.shared")
        and i.importer != i.imported
        and top(i.importer) != "bench"
    ]
    assert not wrong, listed(wrong)


def test_rooms_of_launch_import_only_rooms_below_them():
    """What lies at the top is what a person calls: no room needs it."""
    height = {name: index for index, name in enumerate(LAUNCH_ROOMS)}
    wrong = []
    for i in IMPORTS:
        if top(i.importer) == top(i.imported) == "launch" and i.imported != "launch":
            above = height.get(room(i.importer), len(height))
            wrong += [i] if height.get(room(i.imported), len(height)) > above else []
    assert not wrong, listed(wrong)


def test_no_module_imports_itself_by_way_of_others():
    graph = defaultdict(set)
    for i in IMPORTS:
        if i.imported in MODULES and i.imported != i.importer:
            graph[i.importer].add(i.imported)
    assert not (circle := find_circle(graph)), " imports ".join(circle)


def find_circle(graph):
    """Give the modules of one circle, the first again at its end; empty where there is none."""
    done = set()
    for start in sorted(graph):
        path, ahead = [start], [iter(sorted(graph[start]))]
        while path:
            following = next(ahead[-1], None)
            if following is None:
                done.add(path.pop())
                ahead.pop()
            elif following in path:
                return [*path[path.index(following) :], following]
            elif following not in done:
                path.append(following)
                ahead.append(iter(sorted(graph.get(following, ()))))
    return []


def test_circles_are_found():
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_the_architecture_page_lists_the_rooms_in_their_order():
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.split("## Rooms of `cellmill/`")[1].split("\n\n")[1]
    named = [
        name for row in table.splitlines() for name in re.findall(r"`(\w+)/?`", row.split("|")[1])
    ]
    there = {room(name) for name in MODULES if top(name) == "cellmill"} - {"", "__main__"}
    assert [name for name in ROOMS if name in there] == named


LIMITED = [
    path for name, path in MODULES.items() if top(name) in ("cellmill", "launch", "pipelines")
]
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def lines_of(function):
    """Count a function's lines; those that declare it, signatures and docstrings, aside."""
    count = function.end_lineno - function.lineno + 1
    for each in (f for f in ast.walk(function) if isinstance(f, FUNCTION)):
        first = each.body[0]
        documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        declared = first.end_lineno if documented else first.lineno - 1
        count -= declared - each.lineno + 1
    return count


def test_a_file_can_be_read_at_one_sitting():
    long = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in LIMITED
    }
    assert {file: count for file, count in long.items() if count > MOST_LINES} == {}


def test_a_function_fits_a_screen_or_two():
    found = {
        f"{path.relative_to(ROOT).as_posix()}: {node.name}": lines_of(node)
        for path in LIMITED
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, FUNCTION)
    }
    long = {name for name, count in found.items() if count > MOST_LINES_OF_A_FUNCTION}
    assert not (new := {n: found[n] for n in long - TOO_LONG}), f"cut: {new}"
    assert not (cut := TOO_LONG - long), f"take off the list: {sorted(cut)}"
