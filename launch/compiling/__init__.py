"""From pipeline functions to YAML, for each place where it may run."""
