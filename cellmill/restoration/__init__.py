"""Point spread functions, how a microscope makes an image, and deconvolution."""

from cellmill.restoration.deconvolution import Deconvolution, deconvolve
from cellmill.restoration.forward import Camera, blur, expose
from cellmill.restoration.inverse import regularised_inverse
from cellmill.restoration.microscope import Microscope
from cellmill.restoration.psf import PsfFacts, describe_psf, make_psf
from cellmill.restoration.psf_of_beads import Bead, BeadPsf, psf_of_beads

__all__ = [
    "Bead",
    "BeadPsf",
    "Camera",
    "Deconvolution",
    "Microscope",
    "PsfFacts",
    "blur",
    "deconvolve",
    "describe_psf",
    "expose",
    "make_psf",
    "psf_of_beads",
    "regularised_inverse",
]
