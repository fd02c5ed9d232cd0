"""What training would take on this machine."""
