"""A search space for another domain: convolutional networks that classify images."""
