"""Search spaces and genotypes, and the templates of networks that they name. Nothing here imports TensorFlow."""
