"""What surrounds a Kedro run: hooks, catalog, messages for people, tracking, notebooks."""
