"""A small acoustic model that is trained on a dataset and says where its words lie."""
