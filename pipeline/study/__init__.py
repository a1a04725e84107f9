"""The engine of every comparison: trials × seeds on shared data, resumable, and what came of them with intervals.

A study is a grid of trials, each trained and scored with every seed. Whatever is finished is skipped, so an interrupted
study goes on when it is started again. Read `study.py` first, the parts that it consists of; then `data.py`, which
rigs; `paired.py`, how two trials are compared; `result.py`, `table.py` and `plot.py` say what comes of it. `config.py`
and `expand.py` make a study from a YAML file (`fsmde ablate`); `fsmde reproduce` makes one of its own.
"""
