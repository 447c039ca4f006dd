"""Does a restoration keep what is in the picture? Detectors, segmenters and taggers are asked (SeeSR, section 4)."""
