"""The component ``train_segmenter``: its interface."""

from kfp import dsl

from components.container import run_stage


@dsl.container_component
def train_segmenter(
    images: dsl.Input[dsl.Dataset],
    labels: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    record: dsl.Output[dsl.Artifact],
    hard_background: dsl.Input[dsl.Dataset] = None,
    base: dsl.Input[dsl.Model] = None,
    on_bad_image: str = "fail",
    name: str = "my-model",
    version: str = "1",
    description: str = "",
    licence: str = "",
    compartment: str = "nuclear",
    validation: str = "",
    validation_fraction: float = 0.15,
    steps: int = 1000,
    batch_size: int = 8,
    crop: int = 192,
    learning_rate: float = 0.0,
    validate_every: int = 100,
    patience: int = 0,
    seed: int = 0,
    time_limit_minutes: float = 0.0,
    base_source: str = "given",
) -> dsl.ContainerSpec:
    """Train a segmenter on images and label images, and measure it on images held out.

    The model has two heads a compartment, as Mesmer, runs at the images' own scale (crops are
    zoomed 0.5 to 2 times in training) and stands on its own: SavedModel and card. One seed gives
    one model, to the bit, on one machine and number of threads, unless a time limit ends the
    training.

    Args:
        images: Batch with array `image` (Y, X, C); all with the same number of channels to
            segment.
        labels: Batch with array `labels` (Y, X) or (Y, X, 2: whole cells, nuclei) int32, an entry
            of the same name for each image; images without truth are left out.
        hard_background: Batch like `labels` whose objects look like those to find and are none
            (micronuclei, debris); they count four times as background.
        base: Model made by this stage to go on from (fine-tuning), instead of from nothing.
        on_bad_image: What to do with an image that cannot be used: fail, or skip it and go on.
        name: The model's name.
        version: The model's version.
        description: What the card says of the model.
        licence: What the card says of the weights' licence.
        compartment: What is taught, of labels of one plane what they show; both takes labels of
            two planes, and gives a model with Mesmer's four heads.
        validation: Images to hold out for validation: names or patterns with `*`, with commas
            between. Empty: as many as `validation_fraction` says, drawn by the seed.
        validation_fraction: Part of the images to hold out, at least one image.
        steps: Batches to train on at most; about 0.6 CPU seconds each with the defaults.
        batch_size: Crops in a batch.
        crop: Side of a crop in pixels, a multiple of 16.
        learning_rate: The greatest learning rate; it falls along a half cosine. 0 is 0.003, or
            from a base 0.0003: what it has learnt is to be kept.
        validate_every: Steps between two looks at the validation images; the best look's weights
            are kept.
        patience: Stop after so many looks without a better one; 0 trains all steps.
        seed: Of everything random.
        time_limit_minutes: Stop training after this time; 0 is no limit.
        base_source: Where the base came from, for the card. Empty leaves the base aside and trains
            from nothing: a pipeline hands one over in any case.

    Returns:
        model: The model's folder, SavedModel and model.json.
        metrics: Accuracy on the validation images (of the base model too, if given) and the
            training's curve, JSON.
        record: What was done, with times and versions.
    """
    return run_stage("train_segmenter", image="tensorflow")
