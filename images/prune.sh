# Takes out of an image's packages what no stage opens; run in the folder where they lie.
set -eu

# The packages' own tests, headers to compile against them (CUDA's too), and libclang, which TensorFlow
# declares and only its build uses.
for package in scipy skimage pyarrow networkx h5py pandas sklearn matplotlib; do
  if [ -d "$package" ]; then find "$package" -type d -name tests -prune -exec rm -rf {} +; fi
done
rm -rf pyarrow/include tensorflow/include tensorflow/xla_aot_runtime_src torch/include clang nvidia/*/include

# OpenVINO for other processors, and its readers of other models than SavedModels and ONNX (the form
# with CUDA has none of it).
if [ -d openvino/libs ]; then
  rm -rf openvino/include openvino/libs/*_gpu_plugin* openvino/libs/*_npu_plugin* openvino/libs/cache.json
  find openvino/libs \( -name '*_pytorch_frontend*' -o -name '*_paddle_frontend*' \
    -o -name '*_gguf_frontend*' -o -name '*_jax_frontend*' -o -name '*_lite_frontend*' \) -delete
fi
