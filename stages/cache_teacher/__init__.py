"""Stage 1: run the teacher once over every frame and write what it knew, with the frames, to the cache."""
