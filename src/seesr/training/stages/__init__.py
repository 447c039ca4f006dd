"""One file a training stage: dape and seesr of the paper, the others for the embedded model."""
