"""A setting may ask for a pipeline of its own; what that one does not take is refused."""

import numpy as np
import pytest
from tifffile import imwrite

from launch.run import main
from launch.runs.tables import by_setting


def test_a_training_by_cellpose_is_a_pipeline_of_its_own():
    asked = {"method": "cellpose", "rays": ""}
    assert by_setting("training", asked) == ("cellpose_training", "METHOD=cellpose")
    assert by_setting("training", {"method": "stardist"}) == ("training", "")
    assert by_setting("tuning", asked) == ("tuning", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--rays", "32"), "RAYS: expected none beside METHOD=cellpose, found 32"),
        (("--task", "semantic"), "TASK: expected none beside METHOD=cellpose"),
        (("--hard-background", "x"), "HARD_BACKGROUND: expected none beside METHOD=cellpose"),
        (("--base", "stardist:2D_demo"), "BASE: expected cellpose:cyto3 and the like"),
        (("--base", "cellmill-nuclei"), "BASE: expected cellpose:cyto3 and the like"),
        (("--base", "cellpose:none"), "model 'cellpose:none': expected one of"),
    ],
)
def test_what_it_does_not_take_is_refused(arguments, says, tmp_path, capsys):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
        imwrite(tmp_path / name / "a.tif", np.ones((8, 8), np.uint16))
    given = ("--image", str(tmp_path / "images"), "--truth", str(tmp_path / "labels"))
    place = ("--output", str(tmp_path / "run"))
    assert main(["training", "--method", "cellpose", *given, *place, *arguments]) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
