"""A page on this machine to review what a check or a split doubts; the dataset stays as it is."""
