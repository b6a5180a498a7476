"""Keras layers that stand alone: quantizers, convolutions, and what leaves the widths and depths of a network open."""
