"""Docker's command, and an engine's answers in one line."""

from __future__ import annotations

import shutil
import subprocess

from cellmill.errors import CellmillError


def docker(*arguments: str) -> str:
    """Run a `docker` command and return what it prints.

    Raises:
        CellmillError: there is no such command, no engine answers, or it failed.
    """
    if shutil.which("docker") is None:
        raise CellmillError("docker: expected on the path, found none")
    done = subprocess.run(
        ["docker", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise CellmillError(
            f"docker {arguments[0]}: {lines[-1] if lines else f'ended with {done.returncode}'}"
        )
    return done.stdout.strip()


def engine_answers() -> bool:
    """Whether a Docker engine can be reached."""
    try:
        docker("version", "--format", "{{.Server.Version}}")
    except CellmillError:
        return False
    return True


def has_image(reference: str) -> bool:
    """Whether an image is on this machine."""
    return bool(docker("image", "ls", "--quiet", reference))


def image_label(reference: str, label: str) -> str:
    """Return a label of an image on this machine; empty where it has none."""
    return docker(
        "image", "inspect", "--format", f'{{{{index .Config.Labels "{label}"}}}}', reference
    )


def image_id(reference: str) -> str:
    """Return the digest of an image's configuration, which names what is in it."""
    return docker("image", "inspect", "--format", "{{.Id}}", reference)


def has_network(name: str) -> bool:
    """Whether the engine has a network; one that was started without a bridge has no `bridge`."""
    return name in docker("network", "ls", "--format", "{{.Name}}").splitlines()
