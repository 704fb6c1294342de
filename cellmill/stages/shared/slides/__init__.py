"""Slides larger than memory: how they are cut up among tasks, and what the tasks share."""
