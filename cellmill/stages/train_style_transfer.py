"""Stage: train a network that makes one volume of electron microscopy look like another."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

from cellmill import extras
from cellmill.arrays.files import open_staged, write_text
from cellmill.contract import HTML, Metrics, Model, Output, Progress, Record, stage
from cellmill.errors import BadInput
from cellmill.inference.proofs import proven
from cellmill.models.card import ModelCard
from cellmill.models.fetch import FetchedModel, fetch_model
from cellmill.models.networks import network_digest
from cellmill.reporting.style_transfer import render_style_transfer, samples_picture
from cellmill.stages.shared.checkpoints import checkpoint_folder
from cellmill.style_transfer.base import Base, load_base
from cellmill.style_transfer.domains import open_domain, split
from cellmill.style_transfer.fitting import Fitted, export_chosen, fit_transfer
from cellmill.style_transfer.network import generator_card
from cellmill.style_transfer.parameters import TransferParameters
from cellmill.style_transfer.places import volumes_named
from cellmill.typed_json import without_nan
from cellmill.version import __version__


@stage(image="tensorflow", family="style transfer")
def train_style_transfer(
    model: Output[Model],
    back: Output[Model],
    metrics: Output[Metrics],
    report: Output[HTML],
    record: Output[Record],
    x: str,
    y: str,
    x_truth: str = "",
    y_truth: str = "",
    x_masks: str = "",
    y_masks: str = "",
    x_boxes: str = "",
    y_boxes: str = "",
    held_out: float = 0.25,
    planes: Literal["z", "y", "x", "zyx"] = "zyx",
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32",
    replicas: int = 0,
    steps: int = 600,
    batch_size: int = 6,
    crop: int = 108,
    volume_steps: int = 0,
    volume_batch_size: int = 1,
    sections: int = 0,
    width: int = 8,
    depth: int = 2,
    residual: bool = False,
    objective: Literal["least_squares", "focal"] = "least_squares",
    adversarial: float = 1.0,
    cycle: float = 2.0,
    identity: float = 1.0,
    learning_rate: float = 0.001,
    checkpoint_every: int = 100,
    warp: float = 0.0,
    missing: float = 0.0,
    folds: float = 0.0,
    dark: float = 0.0,
    base: str = "",
    base_digest: str = "",
    base_back: str = "",
    base_back_digest: str = "",
    prior: str = "",
    prior_digest: str = "",
    task_network: str = "",
    task_network_digest: str = "",
    task_head: str = "",
    trust_model: bool = False,
    task_steps: int = 200,
    checkpoints: str = "",
    seed: int = 0,
    name: str = "style-transfer",
    version: str = "1",
    description: str = "",
    licence: str = "",
) -> None:
    """Train a network that makes volume X look like volume Y, chosen by what a task finds.

    A CycleGAN is trained on unpaired planes, and then, if asked for, on volumes. With truth
    (membranes, say) for both volumes a small network is trained on Y to find it; each checkpoint,
    and matching of grey values, is scored by what that network finds in what was made of the part
    of X that no training saw. The best checkpoint is taken if it is better there than matching by
    more than chance, else matching. Without truth it is the last checkpoint, and nothing says
    whether it helps.

    Args:
        model: Network folder from X to Y, SavedModel and model.json, for transfer_style.
        back: Network folder from Y to X.
        metrics: The gate's table, what was chosen, and the curve of the losses, JSON.
        report: Page with curves, samples from X to Y and back, spectra and the gate's table.
        record: What was done, with times and versions.
        x: Path or URI of the source volume (Z, Y, X) uint8; or of several, with spaces between,
            quoted as a shell wants it, `@2` behind one that is drawn twice as often.
        y: Path or URI of the target volume, or of several.
        x_truth: Path or URI of a volume of X's shape, not 0 where there is what the task finds; of
            several volumes as many in their order, `-` where it is not known.
        y_truth: The same of Y.
        x_masks: Volumes that are not 0 where X is to be read, as large or coarser by whole numbers;
            as many as X has, `-` for none.
        y_masks: The same of Y.
        x_boxes: Boxes within which X is to be read, `z0,y0,x0,z1,y1,x1` in voxels, several with
            `;` between; for each volume of X, `-` for all of it.
        y_boxes: The same of Y.
        held_out: Last part along z of each volume of X, within its boxes, that no training sees, at
            least two sections: its first half chooses, its second says how good what was chosen is.
        planes: Axes across which planes are cut: z where sections are thick, zyx (all three, whose
            results are averaged) for isotropic volumes.
        precision: What the networks compute in while they are trained. Mixed: layers in 16 bits,
            weights and losses in 32; with float16 losses are scaled. What is written is float32.
        replicas: Devices that share each batch, GPUs where there are any; 0 takes all GPUs, as many
            as divide a batch. The result is that of one device, but for rounding.
        steps: Batches of planes; 0 where volumes alone are learnt from.
        batch_size: Planes of each volume in a batch.
        crop: Side of a plane in pixels, a multiple of 2 to the power of the depth: at depth 2 from
            96, at 1, 3 and 4 from 48, 208 and 400.
        volume_steps: Batches of volumes after them: the generators are inflated, made ones of
            volumes that at first make the same plane by plane, and go on learning. 0 trains on
            planes alone.
        volume_batch_size: Volumes of each of X and Y in such a batch.
        sections: Of such a volume, whose other sides are those of a plane; 0 is as many as leave
            four after two passes, 24 at depth 2.
        width: Channels of the generators at full resolution.
        depth: Times the generators halve the resolution: 2, 1 for a simpler network to find faults
            with, 3 or 4 for ones that see further.
        residual: Whether a generator adds to what it is given; it then begins at matching mean and
            standard deviation.
        objective: Of the adversarial loss: squares, or focal cross-entropy.
        adversarial: Weight of the adversarial loss.
        cycle: Weight of the cycle loss.
        identity: Weight of the identity loss.
        learning_rate: Of all networks.
        checkpoint_every: Steps between two checkpoints, which the gate scores.
        warp: Standard deviation of an elastic warp of crops, voxels; 0 bends none.
        missing: Part of the sections that crops lack, 0 to 1; planes across z alone lack none.
        folds: Part of the sections of crops that are folded, 0 to 1.
        dark: Part of the sections of crops that are darker and of lower contrast, 0 to 1.
        base: Network folder from X to Y of an earlier training, by path or URI, to go on from, of
            the same width, depth and kind; of volumes, too, where `steps` is 0. Empty begins anew.
        base_digest: Its digest, where it is a file.
        base_back: Network folder from Y to X of the same training, which goes with it.
        base_back_digest: Its digest, where it is a file.
        prior: Network of the user's that knows Y (a segmenter of its membranes, say), by path, URI
            or name: a SavedModel of planes of one channel. It is frozen, and the discriminator of
            Y sees what it finds beside each plane. Empty: none.
        prior_digest: Its digest, where it is a file.
        task_network: Network of the user's that finds in Y what X's truth shows, by path, URI or
            name, of any form: the gate scores by it, and Y needs no truth. Empty trains one on Y.
        task_network_digest: Its digest, where it is a file.
        task_head: Which head of its card says what it finds, `NAME` or `NAME:CHANNEL` from 0;
            empty where it has one head of probabilities, of one channel.
        trust_model: Load these networks even if they could do more than compute.
        task_steps: Batches that the gate's networks are trained on.
        checkpoints: Folder to keep checkpoints in, with a sample from X to Y and back of each: a
            training that was killed goes on from there to the same result. Empty keeps none.
        seed: Of everything random.
        name: The network's name.
        version: The network's version.
        description: What its card says of it.
        licence: What its card says of the weights' licence.
    """
    given = dict(locals())
    asked = {each.name for each in fields(TransferParameters)} & {*given}
    parameters = TransferParameters(**{name: given[name] for name in asked})
    named = [
        volumes_named(key, *(given[f"{key}{of}"] for of in ("", "_truth", "_masks", "_boxes")))
        for key in ("x", "y")
    ]
    extras.load("tensorflow", "style transfer")
    networks = _fetched(given)
    begun = _base(networks["base"], networks["base_back"], parameters)
    all_x, domain_y = map(open_domain, named)
    domain_x, unseen = split(all_x, held_out)
    with _checkpoints(checkpoints) as folder:
        with record.step("fit"), Progress("training", parameters.last_step, "steps") as progress:
            fitted = fit_transfer(
                domain_x,
                domain_y,
                unseen,
                parameters,
                folder,
                task_steps=task_steps,
                replicas=replicas,
                task_head=task_head,
                trusted=trust_model,
                base=begun,
                prior=networks["prior"],
                task=networks["task"],
                on_step=lambda done: progress.advance(done - progress.done),
                on_checkpoint=partial(_shown, progress, parameters, folder, bool(checkpoints)),
            )
        said = {
            **{key: [asdict(each) for each in of] for key, of in zip("xy", named, strict=True)},
            **_named(networks),
            "code": f"cellmill {__version__}",
            "parameters": asdict(parameters),
            **fitted.to_dict(),
        }
        with record.step("export"):
            for output, is_back in ((model, False), (back, True)):
                export_chosen(fitted, parameters, folder, output.path, back=is_back)
                card = generator_card(
                    f"{name}-back" if is_back else name,
                    reach=parameters.reach_at(fitted.chosen.step),
                    planes=planes,
                    version=version,
                    description=description,
                    licence=licence,
                    training=without_nan(said),
                )
                _saved(output, card)
        page = render_style_transfer(fitted, parameters, folder, [d.source for d in domain_y], name)
    write_text(report.path, page)
    write_text(
        metrics.path, json.dumps(without_nan(fitted.to_dict()), indent=1, allow_nan=False) + "\n"
    )
    metrics.metadata.update(_headline(fitted))
    record.note(chosen=fitted.chosen.name, gate=[row.to_dict() for row in fitted.rows])


def _fetched(given: Mapping[str, Any]) -> dict[str, FetchedModel | None]:
    """The networks of the user's that take part, by what the card calls them."""
    sources = {"base": "base", "base_back": "base_back", "prior": "prior", "task": "task_network"}
    return {
        key: fetch_model(given[name], digest=given[f"{name}_digest"]) if given[name] else None
        for key, name in sources.items()
    }


def _base(
    to_y: FetchedModel | None, to_x: FetchedModel | None, parameters: TransferParameters
) -> Base | None:
    if bool(to_y) != bool(to_x):
        expected = "base and base_back, the networks of both directions, or neither"
        raise BadInput("base", expected=expected, found="one of them")
    return load_base(to_y, to_x, parameters) if to_y and to_x else None


def _named(networks: Mapping[str, FetchedModel | None]) -> dict[str, str]:
    """What the card says of networks that took part: where they came from, and their digests."""
    said: dict[str, str] = {}
    for key, fetched in networks.items():
        if fetched:
            said |= {key: fetched.origin, f"{key}_digest": network_digest(fetched.folder)}
    return said


def _shown(
    progress: Progress, parameters: TransferParameters, folder: Path, is_kept: bool, now: Fitted
) -> None:
    """Show how a training stands: its losses, and beside checkpoints that are kept a sample."""
    (checkpoint,) = now.curve
    progress.note(", ".join(f"{name} {loss:.3g}" for name, loss in checkpoint.losses.items()))
    if is_kept:
        with open_staged(folder / "samples" / f"{checkpoint.step}.png") as file:
            file.write(samples_picture(now, parameters, folder))


@contextlib.contextmanager
def _checkpoints(given: str) -> Iterator[Path]:
    if (folder := checkpoint_folder(given)) is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="cellmill-") as passing:
        yield Path(passing)


def _saved(output: Model, card: ModelCard) -> None:
    card = proven(output.path, card)
    card.save(output.path)
    output.metadata.update(name=card.name, version=card.version)


def _headline(fitted: Fitted) -> dict[str, Any]:
    figures = {row.name: row.f1_apart for row in fitted.rows if row.step < 0}
    chosen = fitted.chosen.f1_apart
    named = {f"f1_{key.replace(' ', '_')}": round(value, 4) for key, value in figures.items()}
    if math.isfinite(chosen):
        named["f1_chosen"] = round(chosen, 4)
    return {"chosen": fitted.chosen.name, **named}
