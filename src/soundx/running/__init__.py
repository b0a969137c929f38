"""What surrounds a Kedro run: hooks, catalog, messages for people, tracking, notebooks."""

DEFAULT = ("ingestion", "preprocessing", "cross_validation", "training", "evaluation")
"""The pipelines that ``kedro run`` runs where none is named, in their order."""
