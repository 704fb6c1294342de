"""The lines that a run ends with say what its files say."""

import json

from launch.runs.outcome import outcome

WORSE, BETTER = (
    {
        "images": 3,
        "objects": 50,
        "predicted": found,
        "average_precision": {"0.5": at_half, "0.7": at_half - 0.1, "0.9": 0.2},
        "average_precision_mean": at_half - 0.2,
        "panoptic_quality": at_half - 0.05,
    }
    for found, at_half in ((61, 0.7), (52, 0.8))
)


def lines(folder, name, document):
    (folder / name).write_text(json.dumps(document))
    return list(outcome(folder))


def test_training_says_what_the_model_reaches(tmp_path):
    told = lines(tmp_path, "metrics.json", {"validation": BETTER, "curve": []})
    assert told[0] == "validation: 3 images, 50 objects"
    assert told[1].startswith("  52 found, AP at IoU 0.5 0.800, at 0.7 0.700, mean 0.50-0.95 0.600")
    assert len(told) == 2


def test_fine_tuning_says_what_was_before_and_after(tmp_path):
    told = lines(tmp_path, "metrics.json", {"validation": BETTER, "validation_before": WORSE})
    assert [line.split(":")[0].strip() for line in told] == ["validation", "before", "after"]
    assert "61 found" in told[1]
    assert "52 found" in told[2]
    told = lines(tmp_path, "metrics.json", {"validation": WORSE, "validation_before": BETTER})
    assert told[-1] == "  note: on these images the base is better"


def test_two_compartments_are_told_apart(tmp_path):
    document = {
        "validation_nuclear": BETTER,
        "validation_whole_cell": WORSE,
        "validation_before_nuclear": WORSE,
        "validation_before_whole_cell": BETTER,
    }
    told = lines(tmp_path, "metrics.json", document)
    assert [line for line in told if not line.startswith(" ")] == [
        "validation_nuclear: 3 images, 50 objects",
        "validation_whole_cell: 3 images, 50 objects",
    ]
    assert sum("before" in line for line in told) == 2


def test_tuning_says_what_is_best_and_what_changed(tmp_path):
    document = {
        "objective": "ap_50",
        "images": 2,
        "objects": 9,
        "points": 40,
        "best": {"value": 0.75, "parameters": {"radius": 2, "maxima_smooth": 1.5}},
        "default": {"value": 0.5, "parameters": {"radius": 2, "maxima_smooth": 1.0}},
    }
    told = lines(tmp_path, "tuning.json", document)
    assert "0.5000 with the card's parameters, 0.7500 with the best of 40" in told[0]
    assert told[1:] == ["  radius 2", "  maxima_smooth 1.5 (was 1)"]


def test_a_run_without_such_files_says_nothing(tmp_path):
    assert list(outcome(tmp_path)) == []


def test_a_restoration_says_how_much_nearer_it_came(tmp_path):
    channel = {
        "rmse": {"as acquired": 46.26, "restored": 17.99},
        "objects": {"restored": {"found": 7, "true": 6, "matched": 5, "mean_iou": 0.8}},
    }
    image = {"image": "spheres", "channels": {"520 nm": channel}, "warnings": ["look"]}
    told = lines(tmp_path, "restoration.json", {"images": [image]})
    assert told == [
        "spheres, 520 nm:",
        "  as acquired: RMSE 46.26",
        "  restored: RMSE 17.99, 7 objects found, 5 of 6 true ones matched",
        "  note: look",
    ]


def test_classes_of_pixels_are_told_a_line_each(tmp_path):
    boundary = {"f1": 0.5}
    by_class = {"nuclear": {"dice": 0.9, "iou": 0.8, "boundary": boundary}}
    scores = {
        "images": 2,
        "by_class": {**by_class, "edge": {**by_class["nuclear"], "boundary": None}},
    }
    (tmp_path / "metrics.json").write_text(json.dumps({"validation": scores}))
    (tmp_path / "classes.json").write_text(json.dumps(scores))
    lines = [*outcome(tmp_path)]
    told = ["  nuclear: Dice 0.900, IoU 0.800, boundary F 0.500", "  edge: Dice 0.900, IoU 0.800"]
    assert lines == [
        "validation: 2 image(s)",
        *told,
        "classes of 2 image(s) with truth:",
        *told,
    ]
    (tmp_path / "classes.json").write_text(json.dumps({"note": "no truth"}))
    assert [*outcome(tmp_path)][-1] == "classes: no truth"
