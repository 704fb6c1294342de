"""The environments of stages, without containers: one virtual environment per image and lock.

An image's environment is made from `images/<name>/requirements.lock` once, under a name that
holds the lock's digest and the Python version; a changed lock is another environment. A marker is
written last: an interrupted set-up is begun anew. A lock file lets one process make it while
others wait.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from cellmill.compute.folders import cache_folder, locked
from cellmill.errors import BadInput, CellmillError
from cellmill.terminal import say
from launch import ROOT

IMAGES = ROOT / "images"
#: What the name of an image ends in that is another image's form for NVIDIA GPUs.
CUDA = "-cuda"
_MARKER = "complete"


def image_names() -> list[str]:
    """Return the names of all images that have a lock."""
    forms = (("requirements.lock", ""), ("requirements.cuda.lock", CUDA))
    return sorted(p.parent.name + end for name, end in forms for p in IMAGES.glob(f"*/{name}"))


def image_folder(name: str) -> Path:
    """Return the folder of an image; a form with CUDA shares the other's."""
    return IMAGES / name.removesuffix(CUDA)


def image_lock(name: str) -> Path:
    """Return an image's lock; a form with CUDA has one of its own."""
    return image_folder(name) / f"requirements{'.cuda' if name.endswith(CUDA) else ''}.lock"


def image_name(reference: str) -> str:
    """Return the name of an image (a folder under `images/`) from a container reference.

    Args:
        reference: for example `localhost/cellmill-imaging:0.1.0`.

    Raises:
        BadInput: it is none of this library's images.
    """
    name = reference.rsplit("/", 1)[-1].split("@")[0].split(":")[0].removeprefix("cellmill-")
    if name not in image_names():
        raise BadInput(
            f"image '{reference}'",
            expected=f"one of {', '.join(f'cellmill-{n}' for n in image_names())} (to run a "
            "foreign image use RUNNER=docker)",
            found=name,
        )
    return name


def environment(name: str, *, report: bool = True) -> Path:
    """Return the Python of an image's environment, which is made if it is not there.

    Args:
        name: the image's name.
        report: say on stderr when something must be installed.

    Returns:
        The path of the interpreter.

    Raises:
        CellmillError: no interpreter of the wanted version, or the installation failed.
    """
    return environment_of(image_lock(name), name, report=report)


def environment_of(lock: Path, name: str, *, report: bool = True) -> Path:
    """Return the Python of a lock's environment, as `environment` does.

    Args:
        lock: hashed requirements.
        name: of the environment; an image's says which Python it wants.
        report: say on stderr when something must be installed.
    """
    base = find_python(wanted_python(name))
    version = _version_of(base)
    sha = hashlib.sha256(f"{version} {platform.machine()} {sys.platform}\n".encode())
    sha.update(lock.read_bytes())
    folder = cache_folder("environments") / f"{name}-{sha.hexdigest()[:16]}"
    python = folder / "bin" / "python"
    if (folder / _MARKER).exists() and python.exists():
        return python
    with locked(folder.with_suffix(".lock")):
        if (folder / _MARKER).exists() and python.exists():
            return python
        if report:
            say(f"setting up the {name} environment (once) …", to=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        _uv("venv", "--quiet", "--python", str(base), str(folder))
        _uv(
            "pip", "sync", "--quiet", "--require-hashes", "--python", str(python), str(lock)
        )  # fmt: skip
        (folder / _MARKER).write_text(f"{lock.name} {version}\n")
    return python


def _uv(*arguments: str) -> None:
    from uv import find_uv_bin

    # The caller's virtual environment and index settings of a project must not leak in.
    environ = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    # Where wheels lie that no index has, as torch's for CPUs, people tell pip; uv does not ask it.
    if "UV_FIND_LINKS" not in environ and (places := environ.get("PIP_FIND_LINKS", "").split()):
        environ["UV_FIND_LINKS"] = ",".join(places)
    done = subprocess.run(
        [find_uv_bin(), "--no-python-downloads", *arguments],
        env=environ,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise CellmillError(f"uv {' '.join(arguments[:2])} failed: {' '.join(lines[-4:])}")


def wanted_python(name: str) -> str:
    """Return the Python version an image pins (`images/<name>/python-version`), or empty."""
    pin = image_folder(name) / "python-version"
    return pin.read_text().strip() if pin.exists() else ""


def find_python(version: str) -> Path:
    """Return an interpreter of a version: on the path, of pyenv, or one that uv knows.

    Args:
        version: `"3.10"`; empty for the one that runs this.

    Raises:
        CellmillError: there is none on this machine.
    """
    if not version or version == "{}.{}".format(*sys.version_info):
        return Path(sys.executable).resolve()
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(str(p) for p in pyenv.glob(f"versions/{version}.*/bin/python{version}")),
    ]
    for candidate in candidates:
        # A shim of pyenv is on the path even where its version is not chosen, and then fails.
        if candidate and _version_of(Path(candidate)).startswith(f"{version}."):
            return Path(candidate)
    with contextlib.suppress(CellmillError, subprocess.CalledProcessError):
        from uv import find_uv_bin

        found = subprocess.run(
            [find_uv_bin(), "python", "find", "--no-python-downloads", version],
            capture_output=True,
            text=True,
            check=True,
        )
        return Path(found.stdout.strip())
    raise CellmillError(f"Python {version}: expected on this machine, found none")


@functools.cache
def _version_of(python: Path) -> str:
    if python == Path(sys.executable).resolve():
        return platform.python_version()
    done = subprocess.run(
        [str(python), "-c", "import platform; print(platform.python_version())"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else ""
