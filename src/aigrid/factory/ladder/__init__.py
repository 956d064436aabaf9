"""The ladder: candidates for one task, from the cheapest to the dearest.

Each rung is a module that implements `base.Rung`: it fits rows into a folder of plain files and loads such a folder
back. `open` (open.py) loads a candidate of any rung. Fitting may take scikit-learn; answering takes numpy and, for
rungs that run a model, the engine of that model.
"""
