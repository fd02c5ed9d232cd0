"""Training on several processes: what they sum, and what they must agree on."""
