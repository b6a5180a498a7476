"""Keras layers that need no other part of larq_nas: quantizers, convolutions, and layers for searched widths and
depths.
"""
