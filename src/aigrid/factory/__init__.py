"""The factory: lines that turn data into a pack that has earned its place.

A line (line.py) is a YAML file that names data and stages; `run.build` (run.py) does one stage after another. A stage
is a module with `Settings` (a Struct of what the YAML may say), `run(job, settings)` and, where they matter,
`PACKAGES` (distributions whose versions count), `CODE` (other modules whose text counts), `OWN_CODE` (the blueprint's
Python files count), `READS_MEASURED` and `depends` (what else the result depends on); base.py names them all.
A stage reads the data files and the folders of stages before it, writes into `job.out`, and is kept by the digest of
all that went into it: the same seed gives the same bytes, so what is done is never done again, and what was cut off
by a crash goes on. Whatever depends on the clock is told by `job.measure`, which lies beside the folder, not in it.
"""
