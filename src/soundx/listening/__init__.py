"""What runs on the other machine: recordings in, timed events out, through the shipped file.

It needs NumPy, soundfile, soxr and LiteRT, and nothing of training: no Kedro, no TensorFlow, no
tables.
"""
