"""From a batch to an update of both networks: losses, gradients, parts, precision, averages."""
