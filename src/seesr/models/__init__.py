"""Networks: RCA on UNet and ControlNet, taggers with DAPE, enlargers, autoencoder, text tower."""
