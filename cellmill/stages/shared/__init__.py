"""What several stages share; no module here is a stage."""
