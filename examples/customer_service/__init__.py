"""A bank's customer service, which answers questions from help pages or hands them over."""
