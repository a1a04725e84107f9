"""Stage 3: score students and cached teachers against LiDAR, by a protocol that is written into every result."""
