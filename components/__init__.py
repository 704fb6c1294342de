"""Components: the interfaces of stages, as KFP sees them."""
