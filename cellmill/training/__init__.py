"""Training a small network whose heads are those of one compartment of Mesmer."""
