"""What the pages of a check and of an evaluation share: parts, drawings, pictures, sound."""
