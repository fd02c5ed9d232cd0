"""From what people have to the documented structure of a dataset."""
