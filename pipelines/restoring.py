"""From a batch of images to restored ones, and the page that shows what that did."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.deconvolve.component import deconvolve
from components.make_psf.component import make_psf
from components.report_restoration.component import report_restoration
from pipelines.hardware import Machine
from pipelines.parameters import chosen

#: Parameters of `make_psf` and of `deconvolve`, where a pipeline has them under the same name.
OPTICS = (
    *("numerical_aperture", "emission_nm", "immersion_index", "sample_index", "depth_um"),
    *("excitation_nm", "pinhole_airy", "sheet_um", "bead_image", "psf_image", "voxel_um"),
)
DECONVOLUTION = (
    *("iterations", "total_variation", "accelerate", "edges", "background", "offset"),
    *("saturation", "memory_mib", "consensus", "gain"),
)


def optics_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a pipeline's parameters say of the point spread function."""
    renamed = {"kind": "microscope", "model": "psf_model", "shape": "psf_shape"}
    renamed |= {"bead_digest": "bead_image_digest", "psf_digest": "psf_image_digest"}
    return chosen(given, OPTICS, **renamed)


@dataclass(frozen=True)
class Restored:
    """What the tasks of one batch give, as KFP hands it on.

    Attributes:
        images: as they were acquired.
        restored: the restored ones.
        psf: the point spread functions.
        record: of deconvolution.
    """

    images: Any
    restored: Any
    psf: Any
    record: Any

    def show(self, machine: Machine, **known: Any) -> Any:
        """Add the task that shows before and after; labels and truth are what is known."""
        return machine.place(
            report_restoration(
                images=self.images,
                restored=self.restored,
                psf=self.psf,
                restoration_record=self.record,
                **known,
            )
        )


def restore(
    machine: Machine, images: Any, psf: Any, settings: Mapping[str, Any], on_bad_image: Any = "fail"
) -> Restored:
    """Add the task that deconvolves a batch. Call it in the loop over batches.

    Args:
        machine: what it runs on.
        images: the batch of images.
        psf: the point spread functions.
        settings: `deconvolve`'s parameters.
        on_bad_image: `fail` or `skip`, or the parameter for it.
    """
    task = machine.place(deconvolve(images=images, psf=psf, on_bad_image=on_bad_image, **settings))
    return Restored(images, task.outputs["restored"], psf, task.outputs["record"])


def point_spread(machine: Machine, settings: Mapping[str, Any], images: Any = None) -> Any:
    """Add the task that makes point spread functions, for the voxels of images where given.

    Args:
        machine: what it runs on.
        settings: `make_psf`'s parameters.
        images: the batch of images that they are for; None where the settings have voxel sizes.
    """
    more = {} if images is None else {"images": images}
    return machine.place(make_psf(**settings, **more))
