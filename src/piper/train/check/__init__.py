"""What is wrong with a dataset, found before training: rules, measures, a verdict, reports."""
