"""Small language models trained with low-rank adapters (Hu et al. 2021), quickly on ordinary processors.

`sft.train` learns from prompts with their answers, `dpo.train` from preferences, `merge` writes what serves.
Importing this package imports no torch: that happens inside the modules that compute.
"""

from aigrid.factory.lora.settings import Progress, Result, Settings

__all__ = ["Progress", "Result", "Settings"]
