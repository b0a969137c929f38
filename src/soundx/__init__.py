"""soundx: from a bucket of labelled sound clips to a tested, deployable sound classifier."""

__version__ = "0.1.0"
