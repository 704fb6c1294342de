"""Training a small network whose heads are Mesmer's, of one compartment or of both."""
