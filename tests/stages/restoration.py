"""Small volumes, point spread functions and records, for the tests of restoration's stages."""

import numpy as np

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.contract import HTML, GroundTruth, Images, PointSpread, Record
from cellmill.stages.make_psf import make_psf
from cellmill.stages.simulate import simulate

VOXEL = (0.3, 0.15, 0.15)
WATER = {"numerical_aperture": 1.0, "emission_nm": "520", "immersion_index": 1.33}
TINY = {"depth": 16, "height": 40, "width": 44, "count": 4}


def write_images(folder, images, mpp=VOXEL, channels=(), **attributes):
    with BatchWriter(folder) as out:
        for name, array in images.items():
            out.write(
                name,
                {"image": array},
                axes={"image": "ZYXC" if array.ndim == 4 else "YXC"},
                mpp=mpp[-(array.ndim - 1) :] if mpp else None,
                mpp_source="test",
                channels=channels,
                attributes=attributes,
            )
    return Images(folder)


def made_psf(folder, **parameters):
    folder.mkdir(parents=True, exist_ok=True)
    psf, record = PointSpread(folder / "psf"), Record(folder / "record.json")
    given = parameters or {**WATER, "voxel_um": "0.3,0.15,0.15", "shape": "11,15,15"}
    make_psf(psf, HTML(folder / "psf.html"), record, **given)
    return psf, record


def simulated(folder, psf, **parameters):
    outputs = Images(folder / "images"), Images(folder / "objects"), GroundTruth(folder / "truth")
    record = Record(folder / "record.json")
    simulate(psf, *outputs, record, **{**TINY, **parameters})
    return outputs


def read(artifact, name="", key="image"):
    batch = Batch.open(artifact.path)
    entry = batch.entry(name) if name else batch.entries[0]
    return np.asarray(batch.read(entry, key))
