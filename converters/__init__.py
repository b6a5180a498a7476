"""From a trained Keras network to files for other runtimes."""
