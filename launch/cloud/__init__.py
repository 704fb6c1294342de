"""Runs on Vertex AI and on Kubeflow."""
