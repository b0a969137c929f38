"""Kedro datasets the ecosystem lacks, and whole-or-absent versions of some it has.

They do the I/O; what is read and written lives in the Kedro-free modules they wrap.
"""
