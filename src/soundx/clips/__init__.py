"""Clips: where they come from, their local mirror, and the manifest of what can be used.

Nothing here embeds or learns.
"""
