"""The network of VITS (Kim et al. 2021), with the names of Piper's checkpoints."""
