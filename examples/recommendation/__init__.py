"""A recommender of items by their texts."""
