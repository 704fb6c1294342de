"""Which tasks may be taken from the cache of an earlier run.

A cache goes by a task's parameters, inputs and image. That is sound where the image is pinned by
digest and the task makes all that it leaves: so caching is off in what is compiled for images of
this machine, on in what is rendered for images in a registry, and always off for tasks that write
into a store (their pipelines say so).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cellmill.errors import BadInput
from components.container_images import ContainerImages, read_lock

_CACHED = re.compile(r"cachingOptions:\n +enableCache: true\n")


def uncached(text: str) -> str:
    """Return a compiled pipeline of which no task is taken from the cache.

    Args:
        text: YAML as kfp's compiler writes it.
    """
    return _CACHED.sub("cachingOptions: {}\n", text)


def placed(
    text: str,
    images: ContainerImages,
    remedy: Callable[[str], str] = lambda image: f"make push NAME={image} REGISTRY=…",
) -> str:
    """Name images where they are; cache where all of them are pinned by digest.

    Args:
        text: YAML as kfp's compiler writes it, of images of this machine.
        images: where they are, by name.
        remedy: what to do for an image that is not among them.

    Raises:
        BadInput: one that it names is not among them.
    """
    for image, local in read_lock().items():
        if local.reference in text:
            if image not in images:
                expected = f"in the lock ({remedy(image)})"
                raise BadInput(f"image '{image}'", expected=expected, found="none")
            text = text.replace(local.reference, images[image].reference)
            text = text if images[image].digest else uncached(text)
    return text
