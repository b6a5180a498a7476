"""What a network costs."""

import larq as lq

from larq_nas import networks
from larq_nas.architecture import Architecture


def count(architecture: Architecture, image_shape, classes: int) -> dict:
    """Counts the network of a genotype, by Larq's profile of its layers.

    # Arguments
        architecture: A genotype.
        image_shape: Height, width and channels of the images.
        classes: Number of classes.

    # Returns
        `parameters` (trainable), `bytes` (binary kernels at one bit, the rest at 32), and the multiply-accumulates
        of one image, `binary_macs` and `float_macs`.
    """
    model = networks.build(architecture, image_shape, classes)
    profile = lq.models.ModelProfile(model)
    return {
        # Larq's count leaves the parameters of BatchNorm out.
        "parameters": sum(weight.shape.num_elements() for weight in model.trainable_weights),
        "bytes": -(-profile.memory // 8),
        "binary_macs": profile.op_count("mac", 1),
        "float_macs": profile.op_count("mac", 32),
    }
