"""Embeddings of a project's clips: computed, kept by content, laid out as a map.

Nothing here knows labels.
"""
