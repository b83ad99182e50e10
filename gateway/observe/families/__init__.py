"""The families of metrics, a table for each group of them: one row is one family."""
