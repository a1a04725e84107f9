"""Stage 2: train a student from a cache and nothing else.

Read `execute.py` first, the loop; then `losses/total.py`, `student/model.py` and `loader.py`.
"""
