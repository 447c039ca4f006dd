"""What the program needs of its surroundings: whole files, terminals, threads, the machine, diffusers' search."""
