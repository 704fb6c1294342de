"""Stages as a person calls them."""

from cellmill.contract.cli import main


def stage(name, /, **flags):
    """Run a stage by its command, a flag each; several values of a list or tuple. Its exit code."""
    given = [name]
    for key, value in flags.items():
        given.append(f"--{key.replace('_', '-')}")
        given += map(str, value) if isinstance(value, list | tuple) else [str(value)]
    return main(given)


def classify(preprocessed, model, folder):
    """Classify the pixels of a batch; what comes of it lies in a folder."""
    outputs = {name: folder / name for name in ("predictions", "classes")}
    record = folder / "classify.json"
    inputs = {"preprocessed": preprocessed, "model": model}
    return stage("classify_pixels", **inputs, **outputs, record=record)
