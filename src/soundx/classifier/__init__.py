"""What is shipped: the files of a classifier, their export and check, versions, releases."""
