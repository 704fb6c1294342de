"""The stage that shows what all tasks made of a volume, beside the volume."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellmill.arrays.files import write_text
from cellmill.contract import (
    HTML,
    Input,
    Output,
    Record,
    RecordOfTasks,
    TransferredVolume,
    stage,
)
from cellmill.contract.merging import merge_records
from cellmill.contract.recording import to_json
from cellmill.errors import BadInput
from cellmill.reporting.transferred_volume import render_transferred_volume
from cellmill.style_transfer.viewing import neuroglancer_link, neuroglancer_state
from cellmill.style_transfer.volumes import open_volume
from cellmill.style_transfer.writing import FILE_NAME

#: The state of Neuroglancer, beside what is said of the volume.
STATE_NAME = "neuroglancer.json"
_ADDED = ("blocks", "blocks_resumed", "blocks_of_background", "bytes_read", "bytes_made")


@stage(image="imaging", family="style transfer")
def finish_transfer(
    shards: Input[list[TransferredVolume]],
    transfer_records: Input[list[Record]],
    transferred: Output[TransferredVolume],
    report: Output[HTML],
    transfer_record: Output[RecordOfTasks],
    record: Output[Record],
) -> None:
    """Show a transferred volume beside its source, once all of its tasks are done.

    Args:
        shards: What transfer_style gave for each shard.
        transfer_records: Its record for each shard.
        transferred: Folder with volume.json, where the volume lies and what was read for it, and
            neuroglancer.json, the state of a viewer that shows it beside its source.
        report: Page with cuts through both and a link to the viewer.
        transfer_record: Record of transfer_style, all shards added up.
        record: What was done, with times and versions.
    """
    said = _together([_read(shard.path / FILE_NAME) for shard in shards])
    grey = tuple(said["black_white"]) if said["black_white"] else None
    source = open_volume(said["source"], levels=grey, scale=said["scale"])
    made = open_volume(said["volume"])
    state = neuroglancer_state(said["source"], said["volume"], source)
    said["neuroglancer"] = neuroglancer_link(state)
    with record.step("show"):
        page = render_transferred_volume(source, made, said)
    write_text(report.path, page)
    for name, document in ((FILE_NAME, said), (STATE_NAME, state)):
        write_text(transferred.path / name, json.dumps(document, indent=1) + "\n")
    write_text(transfer_record.path, to_json(merge_records([r.path for r in transfer_records])))
    transferred.metadata.update(shards=len(shards), blocks=said["blocks"])
    record.note(**{key: said[key] for key in (*_ADDED, "read_amplification")})


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise BadInput(f"shard '{path}'", expected="volume.json", found=f"{error}") from error


def _together(shards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all shards say, their counts added up.

    Raises:
        BadInput: one is missing, or they are of different volumes.
    """
    numbers, count = sorted(each["shard"] for each in shards), shards[0]["shards"]
    if numbers != [*range(count)] or len({each["volume"] for each in shards}) != 1:
        expected = f"each of {count} shards of one volume"
        raise BadInput("shards", expected=expected, found=", ".join(map(str, numbers)))
    total = {key: sum(each[key] for each in shards) for key in _ADDED}
    amplification = round(total["bytes_read"] / max(total["bytes_made"], 1), 3)
    left = ("shard", "neuroglancer", "neuroglancer_state")
    first = {key: value for key, value in shards[0].items() if key not in left}
    return {**first, **total, "read_amplification": amplification}
