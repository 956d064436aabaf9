"""The physical layer of 5G, one file a step; `pusch` receives a slot, `pdsch` transmits one."""
