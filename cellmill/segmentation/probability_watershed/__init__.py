"""Objects of one class from its probability: a threshold, seeds, and a watershed between them."""
