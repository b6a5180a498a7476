"""Search spaces, genotypes, and the registry of network templates. Nothing here imports TensorFlow."""
