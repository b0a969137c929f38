"""Splits, heads, the joint category x label model, export and parity.

Nothing here knows Kedro or where files lie.
"""
