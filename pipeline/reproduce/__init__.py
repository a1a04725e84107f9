"""The whole of the method in one run: cache, train every variant on the same data, evaluate, compare.

Everything that is done is skipped, so an interrupted run goes on when it is started again. Read `plan.py` first, the
parts; then `variants.py`, what is compared; `result.py` and `table.py` say what comes of it, and `run.py` does it all.
"""
