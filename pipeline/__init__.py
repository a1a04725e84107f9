"""What a person touches: the command line, configuration files, and the runs made of several stages."""
