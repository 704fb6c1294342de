"""Stages: one function per component. Each opens its inputs, calls the science, writes outputs."""
