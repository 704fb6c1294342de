# cellmill: microscopy images in, cells out. `make help` lists the targets.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

# What was set on make's own command line, and is text: $, $(…), # and quotes mean themselves.
given := $(strip $(foreach name,$(filter-out MAKE% -%,$(.VARIABLES)),$(if $(findstring command,$(origin $(name))),$(name))))
$(foreach name,$(given),$(eval override $(name) := $$(value $(name))))
export $(given)
# So that a name that is no setting can be refused.
export CELLMILL_SETTINGS := $(given)

PYTHON ?= python3
VENV := .venv
CLOUD := .venv-cloud
DEV := .venv-dev
UV_VERSION := 0.13.8
MODEL_DESCRIPTION := Nuclei in fluorescence images, at the image's own scale. A 0.44-million-parameter U-Net trained on two CPU cores on 29 images of cultured cells (RPE1, U2OS and others) of mnfinder 1.2.3 (MIT). The step that is kept was chosen on its validation images, the post-processing on series held out of its training images.
SYNTHETIC_DESCRIPTION := SYNTHETIC, for trying the two-channel path (whole cells, nuclei or both) without a token; not for science. A small U-Net with the heads of Mesmer, in its order, trained only on images that cellmill/datasets/synthetic_cells.py made: no microscope took them, so its figures say nothing about real cells. For tissue of your own use Mesmer, or train on your own images.

# Settings count on make's own command line only: shells and systems set some of these names
# themselves. They are handed on through the environment, whole, whatever their quotes and spaces.
SETTINGS := IMAGE TRUTH OUTPUT CHANNELS MEASURE_CHANNELS MPP DIAMETER Z Z_STEP STITCH_THRESHOLD ORIENTATIONS T SERIES MODEL COMPARTMENT METHOD PARAMETERS \
  TRUTH_KIND TRUTH_COMPARTMENT ON_BAD_IMAGE BATCH_SIZE PRECISION ENGINE TRUST_MODEL LABEL_DTYPE EXPORT RUNNER TARGET \
  STORE MOST_SHARDS MEMORY_MIB \
  NUMERICAL_APERTURE EMISSION_NM MICROSCOPE IMMERSION_INDEX SAMPLE_INDEX DEPTH_UM EXCITATION_NM PINHOLE_AIRY SHEET_UM \
  BEAD_IMAGE PSF_IMAGE PSF_SHAPE VOXEL_UM ITERATIONS TOTAL_VARIATION ACCELERATE CONSENSUS GAIN EDGES BACKGROUND OFFSET SATURATION \
  OBJECTS COUNT DEPTH HEIGHT WIDTH SMALLEST_UM LARGEST_UM PHOTONS BACKGROUND_PHOTONS SIMULATIONS \
  PROJECT REGION PIPELINE_ROOT SERVICE_ACCOUNT NETWORK KMS_KEY CACHE WAIT \
  PIXELS HOST NAMESPACE EXPERIMENT ACCELERATOR ACCELERATORS MACHINE_TYPE SPOT \
  BOOT_DISK_GB HOURS RETRIES RESOURCES NODE_SELECTOR TOLERATIONS SHARED_MEMORY VOLUMES \
  JOB_LABELS DEEPCELL_TOKEN_SECRET REPORT_FAILURE \
  FRAMEWORK TILES \
  IMAGES LABELS SCRIBBLES TASK CLASSES CLASS_WEIGHTS ZERO FEATURES SIGMAS TREES DEPTH HARD_BACKGROUND NAME VERSION DESCRIPTION LICENCE STEPS RAYS SEED VALIDATION \
  VALIDATION_FRACTION PATIENCE TIME_LIMIT_MINUTES BASE BASE_BACK LEARNING_RATE \
  PORT ENDPOINT SOURCES DESTINATIONS REPLICAS \
  SEGMENTERS OBJECTIVE IMAGE_GROUPS MAXIMA_THRESHOLD MAXIMA_SMOOTH INTERIOR_THRESHOLD INTERIOR_SMOOTH PIXEL_EXPANSION RADIUS \
  SMALL_OBJECTS_FRACTION SPOT_SIGMA OUTLINE_SIGMA PROB_THRESHOLD NMS_THRESHOLD REFINEMENTS \
  SIDES DENSITIES CHANNEL_COUNTS BATCH_SIZES TILE_SIZES ENGINES DEVICES PRECISIONS REPEATS ROUNDS PRICES RECORDS BASELINE DATASET \
  X Y X_TRUTH Y_TRUTH X_MASKS Y_MASKS X_BOXES Y_BOXES HELD_OUT PLANES CROP VOLUME_STEPS VOLUME_BATCH_SIZE SECTIONS RESIDUAL ADVERSARIAL CYCLE IDENTITY CHECKPOINT_EVERY TASK_STEPS CHECKPOINTS PRIOR TASK_NETWORK TASK_HEAD \
  WARP MISSING FOLDS DARK VOLUME DESTINATION MASK BLOCK BLACK WHITE SCALE LEVELS VOLUME_SHAPE
$(foreach name,$(filter-out $(given),$(SETTINGS)),$(eval unexport $(name))$(eval override undefine $(name)))

# In recipes settings are words of the shell's, which looks at nothing in them.
named = $${NAME:+"$$NAME"}

# An environment is complete when its stamp, named after its lock, is there.
stamp = $(1)/.complete-$(shell cat $(2) setup.cfg | sha256sum | cut -c1-16)
VENV_STAMP := $(call stamp,$(VENV),requirements.lock)
CLOUD_STAMP := $(call stamp,$(CLOUD),requirements-cloud.lock)
DEV_STAMP := $(call stamp,$(DEV),requirements-dev.lock)

# The clouds' clients are large; a run on this machine goes without them.
RUN_ENV := $(if $(filter-out local,$(TARGET)),$(CLOUD),$(VENV))
RUN_STAMP := $(if $(filter-out local,$(TARGET)),$(CLOUD_STAMP),$(VENV_STAMP))

define make_environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "cellmill: Python: expected 3.10 or later, found $$($(PYTHON) --version 2>&1)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "cellmill: Python: expected with its venv module (Debian: apt-get install python3-venv), found without" >&2; exit 2; }
	@echo "setting up $(1) (once) …" >&2
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@$(1)/bin/python -m pip install -qqq --disable-pip-version-check uv==$(UV_VERSION)
	@$(1)/bin/uv pip sync --quiet --require-hashes --python $(1)/bin/python $(2)
	@$(1)/bin/uv pip install --quiet --no-deps --no-build-isolation --editable . --python $(1)/bin/python
	@rm -f $(1)/.complete-*
	@touch $@
endef

$(VENV_STAMP): requirements.lock setup.cfg
	$(call make_environment,$(VENV),requirements.lock)

$(CLOUD_STAMP): requirements-cloud.lock setup.cfg
	$(call make_environment,$(CLOUD),requirements-cloud.lock)

$(DEV_STAMP): requirements-dev.lock setup.cfg
	$(call make_environment,$(DEV),requirements-dev.lock)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(VENV_STAMP) ## make .venv: cellmill, its command, and kfp

.PHONY: run
run: $(RUN_STAMP) ## segment the sample image, or IMAGE=… [TRUTH=… CHANNELS=… MPP=… DIAMETER=… MODEL=… METHOD=… PARAMETERS=… COMPARTMENT=… OUTPUT=… RUNNER=docker]
	@$(RUN_ENV)/bin/python -m launch.run deepcell_segmentation --make

.PHONY: run-slide
run-slide: $(RUN_STAMP) ## segment an image of any size, in shards: IMAGE=… [TRUTH=… STORE=… MOST_SHARDS=… MEMORY_MIB=…, and as run]
	@$(RUN_ENV)/bin/python -m launch.run slide_segmentation --make

.PHONY: run-restoration
run-restoration: $(RUN_STAMP) ## restore volumes, segment and measure them: IMAGE=… NUMERICAL_APERTURE=… EMISSION_NM=… (or BEAD_IMAGE=…, PSF_IMAGE=…) [ITERATIONS=… TOTAL_VARIATION=…]; without IMAGE on simulated spheres
	@$(RUN_ENV)/bin/python -m launch.run $(if $(IMAGE),restoration,simulated_restoration) --make

.PHONY: run-large-restoration
run-large-restoration: $(RUN_STAMP) ## deconvolve volumes larger than memory, each by many tasks, segment and measure: IMAGE=… and the microscope as for run-restoration [STORE=… MOST_SHARDS=… MEMORY_MIB=… ITERATIONS=…]
	@$(RUN_ENV)/bin/python -m launch.run large_restoration --make

.PHONY: run-style-training
run-style-training: $(RUN_STAMP) ## teach a network to make EM volume X look like Y: X=… Y=… [X_TRUTH=… Y_TRUTH=… X_MASKS=… X_BOXES=… PRIOR=… TASK_NETWORK=… PLANES=z STEPS=… VOLUME_STEPS=… (3-D) BASE=… BASE_BACK=… CHECKPOINTS=…]
	@$(RUN_ENV)/bin/python -m launch.run style_transfer_training --make

STYLE_PIPELINE = $(if $(MODEL)$(VOLUME),style_transfer,simulated_style_transfer)
.PHONY: run-style-transfer
run-style-transfer: $(RUN_STAMP) ## make an EM volume look like another: MODEL=… VOLUME=… [DESTINATION=… MASK=… BLOCK=… LEVELS=… MOST_SHARDS=…]; without them on simulated volumes, training first
	@$(RUN_ENV)/bin/python -m launch.run $(STYLE_PIPELINE) --make

ESTIMATE_ENV := $(if $(SPOT)$(MACHINE_TYPE)$(filter kubeflow,$(TARGET)),$(CLOUD),$(VENV))
.PHONY: estimate
estimate: $(if $(filter $(CLOUD),$(ESTIMATE_ENV)),$(CLOUD_STAMP),$(VENV_STAMP)) ## say what a run will take: IMAGE=… or PIXELS=… [NAME=slide_segmentation TARGET=… REGION=… ACCELERATOR=… SPOT=1]
	@$(ESTIMATE_ENV)/bin/python -m launch.estimate $(named) --make

.PHONY: chaos
chaos: $(DEV_STAMP) ## kill stages and launchers at random moments, KILLS=100 in all, lose files of a slide of SHAPE=4300x6200 px, and check that nothing differs
	@$(DEV)/bin/python -m tests.chaos --kills "$${KILLS:-100}" $${SHAPE:+--shape "$$SHAPE"}

.PHONY: fuzz
fuzz: $(DEV_STAMP) ## hand CASES=10000 damaged files to every reader: one line or pixels, in bounded time and memory [SEED=0]
	@$(DEV)/bin/python -m tests.fuzz --cases "$${CASES:-10000}" --seed "$${SEED:-0}"

.PHONY: fetch
fetch: $(CLOUD_STAMP) ## follow a run that a cloud has (OUTPUT=its folder) and fetch its outputs
	@$(CLOUD)/bin/python -m launch.fetch "$$OUTPUT"

.PHONY: run-training
run-training: export IMAGE ?= $(IMAGES)
run-training: export TRUTH ?= $(LABELS)
run-training: $(RUN_STAMP) ## train a model: IMAGES=… LABELS=… [BASE=cellmill-nuclei: go on from it; Z=all: of volumes; METHOD=stardist [RAYS=32]: star-convex polygons; METHOD=cellpose [BASE=cellpose:cyto3]: by Cellpose 3; TASK=semantic CLASSES=…: classes of pixels; NAME=… STEPS=… HARD_BACKGROUND=… OUTPUT=… TARGET=…]
	@$(RUN_ENV)/bin/python -m launch.run training --make

.PHONY: run-tuning
run-tuning: export IMAGE ?= $(IMAGES)
run-tuning: export TRUTH ?= $(LABELS)
run-tuning: $(RUN_STAMP) ## find a model's best post-processing: IMAGES=… LABELS=… [MODEL=… IMAGE_GROUPS=… OBJECTIVE=… RADIUS=2,3 …]
	@$(RUN_ENV)/bin/python -m launch.run tuning --make

.PHONY: run-pixel-training
run-pixel-training: export IMAGE ?= $(IMAGES)
run-pixel-training: export TRUTH ?= $(SCRIBBLES)
run-pixel-training: $(RUN_STAMP) ## teach a pixel classifier: IMAGES=… SCRIBBLES=… [Z=all: of volumes; CLASSES=background,nuclear NAME=… SIGMAS=… TREES=… DEPTH=… OUTPUT=…]
	@$(RUN_ENV)/bin/python -m launch.run pixel_classification_training --make

.PHONY: run-pixels
run-pixels: $(RUN_STAMP) ## classify pixels and cut a class into objects: MODEL=a pixel classifier IMAGE=… [Z=all TRUTH=… PARAMETERS=… COMPARTMENT=… OUTPUT=…]
	@$(RUN_ENV)/bin/python -m launch.run pixel_classification --make

.PHONY: run-classes
run-classes: $(RUN_STAMP) ## say which class every pixel has: MODEL=a model of TASK=semantic IMAGE=… [TRUTH=label images of classes OUTPUT=…]
	@$(RUN_ENV)/bin/python -m launch.run semantic_segmentation --make

.PHONY: sample-scribbles
sample-scribbles: setup ## make scribbles of 2 % of the sample's truth: [OUTPUT=build/scribbles]
	@$(VENV)/bin/python -m cellmill.datasets.scribbles --output "$${OUTPUT:-build/scribbles}"

.PHONY: compare
compare: $(RUN_STAMP) ## compare segmenters: [IMAGE=… TRUTH=… SEGMENTERS='cellmill-nuclei voronoi_otsu path/to/model' OUTPUT=… TARGET=…]
	@$(RUN_ENV)/bin/python -m launch.run segmenter_comparison --make

.PHONY: bench-pipeline
bench-pipeline: $(RUN_STAMP) ## measure segmenters over sizes: table, figures, guidelines [IMAGE=… TRUTH=… SIDES=… SEGMENTERS=… ENGINES=… DEVICES='cpu gpu' REPEATS=5 TARGET=…]
	@$(RUN_ENV)/bin/python -m launch.run benchmark --make

.PHONY: bench-crops
bench-crops: export SEGMENTERS ?= cellpose:cyto3
bench-crops: export DIAMETER ?= auto
bench-crops: export SIDES ?= 224 448 896 1344 1792 $(if $(IMAGE),full,2160)
bench-crops: export BATCH_SIZES ?= 8
bench-crops: export DENSITIES ?= 1
bench-crops: export CHANNEL_COUNTS ?= 0
bench-crops: $(RUN_STAMP) ## the Cellpose benchmark of 2024, mended: crops, diameter estimated, cyto3 or SEGMENTERS=file of weights [IMAGE=… DEVICES='cpu gpu']
	@$(RUN_ENV)/bin/python -m launch.run benchmark --make

.PHONY: bench-merge
bench-merge: $(VENV_STAMP) ## put benchmarks of several runs and machines together: RECORDS='run other/run' [BASELINE=… PRICES=… OUTPUT=…]
	@$(VENV)/bin/python -m launch.merge_benchmarks --make

.PHONY: bench-load
bench-load: $(CLOUD_STAMP) ## load benchmarks into BigQuery: RECORDS='run other/run' DATASET=project.dataset[.table]
	@$(CLOUD)/bin/python -m launch.load_benchmarks --make

.PHONY: build-images
build-images: $(VENV_STAMP) ## build the images that the YAML names, or NAME=… [SEALED=1: without a registry]
	@$(VENV)/bin/python -m launch.images.building $(named) $(if $(SEALED),--sealed)

.PHONY: push
push: $(VENV_STAMP) ## push the images to REGISTRY=… and write their digests to images/release.lock.yaml
	@test -n "$$REGISTRY" || { echo "cellmill: REGISTRY: expected, found nothing" >&2; exit 2; }
	@$(VENV)/bin/python -m launch.images.building $(named) --push "$$REGISTRY"

.PHONY: release
release: $(VENV_STAMP) ## write dist/release/<version>: components and pipelines by digest [REGISTRY=…: push the images first]
	@$(if $(REGISTRY),$(VENV)/bin/python -m launch.images.building $(named) --push "$$REGISTRY" &&) $(VENV)/bin/python -m launch.release

.PHONY: pin-base
pin-base: $(VENV_STAMP) ## write the present digests of the images' bases into images/bases.yaml
	@$(VENV)/bin/python -m launch.images.pin_base

.PHONY: train-model
train-model: export IMAGE ?= build/mnfinder/images
train-model: export TRUTH ?= build/mnfinder/labels
train-model: export HARD_BACKGROUND ?= build/mnfinder/micronuclei
train-model: export NAME ?= cellmill-nuclei
train-model: export VERSION ?= 0.3.2
train-model: export LICENCE ?= Apache-2.0
train-model: export VALIDATION ?= validation_*
train-model: export STEPS ?= 5000
train-model: export SEED ?= 1
train-model: export DESCRIPTION ?= $(MODEL_DESCRIPTION)
train-model: setup ## train the model that ships, anew, from mnfinder's images (33 minutes on two cores)
	@rm -rf build/mnfinder
	@$(VENV)/bin/python -m cellmill.datasets.samples mnfinder-training --output build/mnfinder
	@$(VENV)/bin/python -m cellmill.datasets.samples mnfinder-validation --output build/mnfinder
	@$(VENV)/bin/python -m launch.run training --make

.PHONY: train-synthetic-model
train-synthetic-model: export IMAGE ?= build/synthetic/images
train-synthetic-model: export TRUTH ?= build/synthetic/labels
train-synthetic-model: export CHANNELS ?= nuclear,membrane
train-synthetic-model: export COMPARTMENT ?= both
train-synthetic-model: export NAME ?= cellmill-synthetic-cells
train-synthetic-model: export VERSION ?= 0.1.0
train-synthetic-model: export LICENCE ?= Apache-2.0
train-synthetic-model: export VALIDATION ?= validation_*
train-synthetic-model: export STEPS ?= 1200
train-synthetic-model: export SEED ?= 1
train-synthetic-model: export DESCRIPTION ?= $(SYNTHETIC_DESCRIPTION)
train-synthetic-model: setup ## train the two-channel model that ships, anew, from synthetic images
	@rm -rf build/synthetic
	@$(VENV)/bin/python -m cellmill.datasets.synthetic_cells --count 40 --seed 1000 --prefix training --output build/synthetic
	@$(VENV)/bin/python -m cellmill.datasets.synthetic_cells --count 6 --seed 2000 --prefix validation --output build/synthetic
	@$(VENV)/bin/python -m launch.run training --make

.PHONY: synthetic-image
synthetic-image: setup ## make a two-channel image of cells, with truth, to try COMPARTMENT=both: [SEED=… OUTPUT=build/synthetic-image]
	@$(VENV)/bin/python -m cellmill.datasets.synthetic_cells --seed "$${SEED:-7}" --prefix cells --output "$${OUTPUT:-build/synthetic-image}"

.PHONY: choose-postprocessing
choose-postprocessing: $(DEV_STAMP) ## choose the shipped model's post-processing on series held out of its training images
	@$(DEV)/bin/python -m bench.folds $(BENCH)

.PHONY: evaluate-model
evaluate-model: setup ## measure a model on validation, varied, test and sample images: [MODEL=…, WRITE=1]
	@$(VENV)/bin/python -m launch.evaluate $${MODEL:+--model "$$MODEL"} $(if $(WRITE),--write)

.PHONY: import-model
import-model: $(VENV_STAMP) ## bring a network of another framework in: MODEL=its files [OUTPUT=models/… FRAMEWORK=stardist NAME=… COMPARTMENT=… MPP=… LICENCE=… TILES=….npy SIZE_MODEL=….npy]
	@test -n "$$MODEL" || { echo "cellmill: MODEL: expected the framework's own files, found nothing" >&2; exit 2; }
	@$(VENV)/bin/python -m launch.import_model "$$MODEL" $${OUTPUT:+--output "$$OUTPUT"} $${FRAMEWORK:+--framework "$$FRAMEWORK"} \
	  $${NAME:+--name "$$NAME"} $${VERSION:+--version "$$VERSION"} $${COMPARTMENT:+--compartment "$$COMPARTMENT"} $${MPP:+--mpp "$$MPP"} \
	  $${LICENCE:+--licence "$$LICENCE"} $${DESCRIPTION:+--description "$$DESCRIPTION"} $${TILES:+--tiles "$$TILES"} $${SIZE_MODEL:+--size_model "$$SIZE_MODEL"}

.PHONY: serve
serve: $(VENV_STAMP) ## serve a network on this machine, KServe V2 and Vertex AI's protocol: MODEL=… [PORT=8080 SOURCES='data/ gs://bucket/x' ENGINE=… COMPARTMENT=…]
	@$(VENV)/bin/python -m launch.serve --make

.PHONY: deploy
deploy: $(RUN_STAMP) ## put a network behind an endpoint: MODEL=… TARGET=vertex PROJECT=… REGION=… PIPELINE_ROOT=… [ENDPOINT=shared REPLICAS=1-4], TARGET=kubeflow (a KServe manifest), TARGET=local (the container)
	@$(RUN_ENV)/bin/python -m launch.deploy --make

.PHONY: prove-engines
prove-engines: $(DEV_STAMP) ## hold each engine's heads against TensorFlow's or ONNX Runtime's and write it on the cards: [MODEL=folder; those that ship]
	@$(DEV)/bin/python -m cellmill.inference.proofs $${MODEL:+"$$MODEL"}

.PHONY: doctor
doctor: setup ## say what this machine has and lacks for each place to run
	@$(VENV)/bin/python -m launch.doctor

.PHONY: compile
compile: $(DEV_STAMP) ## write components/ from the stages, and pipelines/*/pipeline.yaml
	@$(DEV)/bin/python -m launch.compile

.PHONY: test
test: $(DEV_STAMP) ## run the tests (but those of `make conformance`)
	@$(DEV)/bin/python -m pytest -n 2 -m "not deepcell and not stardist and not cellpose" $(PYTEST)

.PHONY: test-fast
test-fast: $(DEV_STAMP) ## run the tests of the science and the contract, in under two minutes
	@$(DEV)/bin/python -m pytest -n 2 -m "not deepcell and not stardist and not cellpose and not tensorflow and not browser and not napari and not docker and not pipeline" tests/arrays tests/compute tests/contract tests/io tests/labels tests/metrics tests/measurement tests/models tests/morphology tests/preprocessing tests/segmentation $(PYTEST)

.PHONY: test-more
test-more: $(DEV_STAMP) ## try the tests of properties on new random examples, many more than `make test` takes
	@CELLMILL_HYPOTHESIS=more $(DEV)/bin/python -m pytest -n 2 -m "hypothesis and not deepcell and not stardist and not cellpose" $(PYTEST)

.PHONY: conformance
conformance: $(DEV_STAMP) ## compare every step with DeepCell's own package on one model (Python 3.10), and with StarDist's and Cellpose's (3.11)
	@$(DEV)/bin/python -m pytest tests -n 2 --dist loadfile -m "deepcell or stardist or cellpose" --tb=short $(PYTEST)

.PHONY: conformance-model
conformance-model: $(DEV_STAMP) ## train the model that conformance compares with, in DeepCell's package
	@$(DEV)/bin/python -m tests.conformance.conformance_model

.PHONY: bench
bench: $(DEV_STAMP) ## time the kernels against the reference: table, and outputs/bench/kernels.json
	@$(DEV)/bin/python -m bench.kernels $(BENCH)

.PHONY: bench-cellpose
bench-cellpose: $(DEV_STAMP) ## time Cellpose's masks step against its own, and take the memory
	@$(DEV)/bin/python -m bench.cellpose_masks $(BENCH)

.PHONY: bench-metrics
bench-metrics: $(DEV_STAMP) ## time measuring and scoring up to a million objects
	@$(DEV)/bin/python -m bench.metrics $(BENCH)

.PHONY: bench-exports
bench-exports: $(DEV_STAMP) ## time exports of up to a million cells, and take their memory
	@$(DEV)/bin/python -m bench.exports $(BENCH)

.PHONY: bench-restoration
bench-restoration: $(DEV_STAMP) ## time deconvolution against scikit-image's richardson_lucy, and take its memory
	@$(DEV)/bin/python -m bench.restoration $(BENCH)

.PHONY: bench-volume-tiles
bench-volume-tiles: $(DEV_STAMP) ## time a volume's objects in memory and block by block, take the memory, and compare [BENCH="--method deep_watershed"]
	@$(DEV)/bin/python -m bench.volume_tiles $(BENCH)

.PHONY: bench-pixels
bench-pixels: $(DEV_STAMP) ## time pixel classification against scikit-image and scikit-learn, and compare
	@$(DEV)/bin/python -m bench.pixels $(BENCH)

.PHONY: bench-run
bench-run: $(DEV_STAMP) ## time a whole run of the sample against its stages' own work, and cellmill.segment in a fresh process
	@$(DEV)/bin/python -m bench.run $(BENCH)

.PHONY: bench-slide
bench-slide: $(DEV_STAMP) ## time every stage on slides of up to 27,120 × 26,139 px, and take its memory
	@$(DEV)/bin/python -m bench.slide $(BENCH)

.PHONY: bench-predict
bench-predict: $(DEV_STAMP) ## time prediction by each engine against DeepCell's application
	@$(DEV)/bin/python -m bench.predict $(BENCH)

.PHONY: bench-stardist
bench-stardist: $(DEV_STAMP) ## time StarDist's suppression and labels against its own package, and slides tile by tile
	@$(DEV)/bin/python -m bench.star_convex $(BENCH)

.PHONY: bench-io
bench-io: $(DEV_STAMP) ## time TIFF to npz and Zarr against decoding alone, and count the bytes read
	@$(DEV)/bin/python -m bench.io $(BENCH)

.PHONY: bench-style-transfer
bench-style-transfer: $(DEV_STAMP) ## time a style-transfer network over a volume, in large blocks and in small ones
	@$(DEV)/bin/python -m bench.style_transfer $(BENCH)

.PHONY: bench-volumes
bench-volumes: $(DEV_STAMP) ## time random crops of volumes behind HTTP, and count the bytes read for each that is used
	@$(DEV)/bin/python -m bench.volumes $(BENCH)

.PHONY: bench-volume-stages
bench-volume-stages: $(DEV_STAMP) ## take the memory of every stage of a volume, and of one of twice the planes
	@$(DEV)/bin/python -m bench.volume_stages $(BENCH)

.PHONY: bench-serving
bench-serving: $(DEV_STAMP) ## load a server on loopback: p50, p99, errors, images/s, by clients at once
	@$(DEV)/bin/python -m bench.serving $(BENCH)

.PHONY: speeds
speeds: $(DEV_STAMP) ## time every stage in whole runs and write launch/speeds.json, which `make estimate` reads
	@$(DEV)/bin/python -m bench.speeds $(BENCH)

.PHONY: check
check: $(DEV_STAMP) ## lint, format, types, drift of generated files
	@$(DEV)/bin/ruff check .
	@$(DEV)/bin/ruff format --check --quiet . || { echo "run: make format" >&2; exit 1; }
	@$(DEV)/bin/mypy
	@$(DEV)/bin/python -m launch.compile --check
	@$(DEV)/bin/python -m launch.compiling.lint_ir

.PHONY: lint-ir
lint-ir: $(DEV_STAMP) ## find in the compiled YAML what kfp does not, or in FILE=… [RELEASE=1]
	@$(DEV)/bin/python -m launch.compiling.lint_ir $${FILE:+"$$FILE"} $(if $(RELEASE),--release)

.PHONY: format
format: $(DEV_STAMP) ## format the code
	@$(DEV)/bin/ruff check --fix --quiet . ; $(DEV)/bin/ruff format .

.PHONY: new-component
new-component: $(DEV_STAMP) ## write the skeleton of a component, its stage and test: NAME=… [ENVIRONMENT=imaging FAMILY=segmentation]
	@$(DEV)/bin/python -m launch.new_component "$$NAME" --image "$${ENVIRONMENT:-imaging}" --family "$${FAMILY:-segmentation}"

.PHONY: lock
lock: $(DEV_STAMP) ## resolve all environments anew
	@set -e; lock="$(DEV)/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header --upgrade --override images/imaging/overrides.txt"; \
	$$lock requirements-dev.in -o requirements-dev.lock; \
	$$lock -c requirements-dev.lock requirements.in -o requirements.lock; \
	$$lock -c requirements-dev.lock requirements-cloud.in -o requirements-cloud.lock; \
	for name in imaging serving tensorflow; do \
	  $$lock -c requirements-dev.lock images/$$name/requirements.in -o images/$$name/requirements.lock; \
	done; \
	$(DEV)/bin/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	  --generate-hashes --no-header --upgrade -c images/tensorflow/requirements.lock \
	  --override images/imaging/overrides.txt images/tensorflow/requirements.cuda.in -o images/tensorflow/requirements.cuda.lock; \
	$(DEV)/bin/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	  --generate-hashes --no-header --upgrade -c images/tensorflow/requirements.lock \
	  --override images/imaging/overrides.txt images/stardist/requirements.in -o images/stardist/requirements.lock; \
	$(DEV)/bin/uv pip compile --quiet --python-version 3.10 --generate-hashes --no-header --upgrade \
	  --override images/deepcell/overrides.txt images/deepcell/requirements.in -o images/deepcell/requirements.lock; \
	UV_FIND_LINKS="$${UV_FIND_LINKS-$${PIP_FIND_LINKS// /,}}" \
	  $(DEV)/bin/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	  --generate-hashes --no-header --upgrade -c images/tensorflow/requirements.lock \
	  --override images/imaging/overrides.txt --override images/cellpose3/overrides.txt images/cellpose3/requirements.in -o images/cellpose3/requirements.lock; \
	UV_FIND_LINKS="$${UV_FIND_LINKS-$${PIP_FIND_LINKS// /,}}" \
	  $(DEV)/bin/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	  --generate-hashes --no-header --upgrade -c images/tensorflow/requirements.lock \
	  --override images/imaging/overrides.txt images/cellpose4/requirements.in -o images/cellpose4/requirements.lock; \
	$(DEV)/bin/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	  --generate-hashes --no-header --upgrade -c requirements-dev.lock \
	  --override images/imaging/overrides.txt tests/napari_cellmill/requirements.in -o tests/napari_cellmill/requirements.lock

.PHONY: clean
clean: ## remove what can be made again, not the outputs of runs
	@rm -rf $(VENV) $(CLOUD) $(DEV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
