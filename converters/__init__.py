"""Converts trained Keras networks to files for other runtimes."""
