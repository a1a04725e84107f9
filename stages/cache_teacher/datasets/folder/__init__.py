"""Rigs of anybody's car: a folder with a description in JSON, images and point clouds. See docs/folder.md."""
