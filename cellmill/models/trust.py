"""What a network may do: compute. A model is a program, and this is asked before it is loaded.

A SavedModel may have operations that read and write files or call Python; an ONNX file may have
operations of a custom library, or weights in files elsewhere. Operations are read from the files
themselves, without the framework, and held against a list of those that only compute.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from cellmill.errors import BadInput
from cellmill.models.protobuf import fields, messages, text

#: What a SavedModel's graph may hold: arithmetic, arrays, layers, control flow and variables.
_COMPUTING = frozenset(
    files("cellmill.models").joinpath("computing_operations.txt").read_text("utf-8").split()
)
#: What the functions hold that write and read a SavedModel's own variables; the framework calls
#: them with the model's own folder, and nothing that computes may.
_CHECKPOINT = frozenset(
    [
        "MergeV2Checkpoints",
        "RestoreV2",
        "SaveV2",
        "ShardedFilename",
        "StaticRegexFullMatch",
        "StringJoin",
    ]
)
#: Sets of operators that come with ONNX and its runtimes, by their domain.
_ONNX_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc")


def check_network(folder: str | os.PathLike[str], what: str = "model") -> None:
    """Refuse a network that could do more than compute.

    Args:
        folder: the model's.
        what: the model's name in error messages.

    Raises:
        BadInput: a link leads out of the folder; or the network has an operation that is not known
            to compute only, or weights outside the folder; or its file cannot be read.
    """
    root = Path(folder)
    _check_links(root, what)
    for name, check, expected in (
        ("saved_model.pb", _check_savedmodel, "a SavedModel that TensorFlow reads"),
        ("network.onnx", _check_onnx, "an ONNX file"),
    ):
        path = root / name
        if not path.is_file():
            continue
        try:
            check(memoryview(path.read_bytes()), what)
        except (ValueError, TypeError, UnicodeDecodeError) as error:
            raise BadInput(
                f"{what}, '{path}'", expected=expected, found=f"damage: {error}"
            ) from None


def _check_links(root: Path, what: str) -> None:
    inside = root.resolve()
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(folder, name)
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise BadInput(
                    f"{what}, '{path}'",
                    expected="files of its own",
                    found="a link out of its folder",
                )


def _check_savedmodel(document: memoryview, what: str) -> None:
    for graph in messages(document, 2):
        for definition in messages(graph, 2):
            operations, calls = _functions(definition)
            checkpoint = {name for name, found in operations.items() if found & _CHECKPOINT}
            called = set().union(
                *(calls[name] for name in calls if name and name not in checkpoint)
            )
            called |= _serving(graph, definition)
            for name, found in operations.items():
                saver = name and name in checkpoint and name not in called
                _refuse(found - _COMPUTING - (_CHECKPOINT if saver else frozenset()), what)


def _functions(definition: memoryview) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Operations, and functions called, by function; the graph itself has an empty name."""
    operations: dict[str, set[str]] = {"": set()}
    calls: dict[str, set[str]] = {"": set()}
    for node in messages(definition, 1):
        operations[""].add(text(node, 2))
        calls[""] |= set(_called(node))
    for library in messages(definition, 2):
        for function in messages(library, 1):
            name = next((text(signature, 1) for signature in messages(function, 1)), "")
            if not name:
                raise ValueError("a function without a name")
            operations.setdefault(name, set())
            calls.setdefault(name, set())
            for node in messages(function, 3):
                operations[name].add(text(node, 2))
                calls[name] |= set(_called(node))
    return operations, calls


def _called(node: memoryview) -> Iterator[str]:
    """The functions that a node's attributes name."""
    for attribute in messages(node, 5):
        for value in messages(attribute, 2):
            for number, found in fields(value):
                if number == 10 and isinstance(found, memoryview):
                    yield text(found, 1)
                elif number == 1 and isinstance(found, memoryview):
                    yield from (text(function, 1) for function in messages(found, 9))


def _serving(graph: memoryview, definition: memoryview) -> set[str]:
    """The functions that the graph calls to compute what a signature gives."""
    wanted: set[str] = set()
    for signature in messages(graph, 5):
        for value in messages(signature, 2):
            for output in messages(value, 2):
                wanted |= {text(tensor, 1).split(":")[0] for tensor in messages(output, 2)}
    found: set[str] = set()
    for node in messages(definition, 1):
        if text(node, 1) in wanted:
            found |= set(_called(node))
    return found


def _check_onnx(document: memoryview, what: str) -> None:
    domains = {text(each, 1) for each in messages(document, 8)}
    for domain in sorted(domains - set(_ONNX_DOMAINS)):
        raise BadInput(
            what, expected="operators of ONNX itself", found=f"some of the custom domain '{domain}'"
        )
    for graph in messages(document, 7):
        _check_onnx_graph(graph, what)
    for function in messages(document, 25):
        for node in messages(function, 7):
            _check_onnx_node(node, what)


def _check_onnx_graph(graph: memoryview, what: str) -> None:
    for tensor in messages(graph, 5):
        _check_onnx_tensor(tensor, what)
    for node in messages(graph, 1):
        _check_onnx_node(node, what)


def _check_onnx_node(node: memoryview, what: str) -> None:
    domain = text(node, 7)
    if domain not in _ONNX_DOMAINS:
        raise BadInput(
            what,
            expected="operators of ONNX itself",
            found=f"'{text(node, 4)}' of the custom domain '{domain}'",
        )
    for attribute in messages(node, 5):
        for number, value in fields(attribute):
            if not isinstance(value, memoryview):
                continue
            if number in (5, 10):
                _check_onnx_tensor(value, what)
            elif number in (6, 11):
                _check_onnx_graph(value, what)


def _check_onnx_tensor(tensor: memoryview, what: str) -> None:
    """Weights in a file of their own must lie in the model's folder."""
    for pair in messages(tensor, 13):
        if text(pair, 1) != "location":
            continue
        place = text(pair, 2)
        if Path(place).is_absolute() or ".." in Path(place).parts:
            raise BadInput(what, expected="weights in its folder", found=f"some in '{place}'")


def _refuse(operations: set[str], what: str) -> None:
    if operations:
        raise BadInput(
            what,
            expected="a network that only computes (TRUST_MODEL=1 loads it all the same)",
            found=f"the operation {', '.join(sorted(operations)[:5])}",
        )
