"""Classes of pixels are made of objects."""

import numpy as np

from cellmill.datasets.class_images import class_image


def test_every_pixel_has_a_class_and_micronuclei_lie_on_top():
    nuclei, micronuclei = np.array([[0, 3, 3, 0]]), np.array([[0, 0, 2, 1]])
    assert class_image(nuclei, micronuclei).tolist() == [[1, 2, 3, 3]]
