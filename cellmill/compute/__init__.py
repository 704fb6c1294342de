"""What every computation stands on: compiled kernels, threads and memory."""
