"""Files and folders, written whole or not at all, and S3: settings, errors, retries.

Nothing here knows clips or models.
"""
