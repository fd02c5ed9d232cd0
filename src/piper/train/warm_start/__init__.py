"""Weights to start from: another training's, or a published voice's."""
