"""One package a pipeline: ``nodes.py`` of pure functions, ``pipeline.py`` that wires them."""
