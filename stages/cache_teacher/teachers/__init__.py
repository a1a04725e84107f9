"""Teachers that stage 1 can run."""
