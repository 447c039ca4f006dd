"""What people run: the command line, folder jobs, doctor."""
