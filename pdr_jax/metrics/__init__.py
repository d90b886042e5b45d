"""Scores as pure functions of predictions and truth, each with its source."""
