"""Writes the vectors beside it from Sionna (extra `oracle`), an independent implementation of the same standards.

`python tests/ran/vectors/make.py`; the tests read what it wrote and need no Sionna.
"""

from pathlib import Path

import numpy as np
import torch
from sionna.phy.nr import (
    CarrierConfig,
    MCSDecoderNR,
    PUSCHConfig,
    PUSCHDMRSConfig,
    PUSCHTransmitter,
    TBEncoder,
    calculate_tb_size,
)

RNTI, IDENTITY, SLOT = 0x4601, 1, 3
CODED = (
    (1, 2, 2),
    (1, 27, 2),
    (3, 12, 2),
    (8, 4, 2),
    (24, 5, 2),
    (24, 27, 2),
    (51, 4, 2),
    (51, 15, 2),
    (17, 20, 1),
    (30, 9, 1),
)
"""Resource blocks, MCS, MCS table (1: 64QAM, 2: 256QAM); Sionna encodes no rate below 1/5, nor below 1/3 in graph 1."""
GRIDS = ((4, 3), (4, 12), (6, 24))
"""Resource blocks and MCS of whole resource grids (256QAM table)."""
PRBS = (1, 2, 3, 7, 13, 24, 25, 38, 50, 51)


def mcs(index: int, table: int) -> tuple[int, float]:
    """Return bits a symbol and code rate."""
    decode = MCSDecoderNR()
    bits, rate = decode(torch.tensor(index), torch.tensor(table), torch.tensor(1), check_index_validity=False)
    return int(bits), float(rate)


def sizes() -> np.ndarray:
    """Return rows of (table, MCS, blocks, transport block size)."""
    rows = []
    for table in (1, 2):
        for index in range(29 if table == 1 else 28):
            bits, rate = mcs(index, table)
            for prb in PRBS:
                found = calculate_tb_size(bits, rate, num_prbs=prb, num_ofdm_symbols=14, num_dmrs_per_prb=24)
                rows.append((table, index, prb, int(found[0])))
    return np.array(rows)


def main() -> None:
    """Write everything."""
    random = np.random.default_rng(0)
    out: dict[str, np.ndarray] = {"sizes": sizes()}
    known = {tuple(row[:3]): int(row[3]) for row in out["sizes"]}
    for at, (prb, index, table) in enumerate(CODED):
        bits, rate = mcs(index, table)
        size = known.get((table, index, prb)) or int(
            calculate_tb_size(bits, rate, num_prbs=prb, num_ofdm_symbols=14, num_dmrs_per_prb=24)[0]
        )
        encoder = TBEncoder(size, prb * 144 * bits, rate, bits, n_rnti=RNTI, n_id=IDENTITY, channel_type="PUSCH")
        sent = random.integers(0, 2, encoder.k)
        coded = encoder(torch.tensor(sent[None], dtype=torch.float32)).numpy().ravel().astype(np.uint8)
        out[f"sent_{at}"], out[f"coded_{at}"] = np.packbits(sent.astype(np.uint8)), np.packbits(coded)
        out[f"coded_form_{at}"] = np.array([prb, index, table, size])
    for at, (prb, index) in enumerate(GRIDS):
        carrier = CarrierConfig(n_cell_id=IDENTITY, n_size_grid=prb, subcarrier_spacing=30, slot_number=SLOT)
        signal = PUSCHDMRSConfig(
            config_type=1, additional_position=1, num_cdm_groups_without_data=2, n_id=[IDENTITY] * 2
        )
        config = PUSCHConfig(carrier_config=carrier, pusch_dmrs_config=signal, n_rnti=RNTI)
        config.tb.mcs_index, config.tb.mcs_table, config.tb.n_id = index, 2, IDENTITY
        grid, sent = PUSCHTransmitter(config, return_bits=True)(1)
        out[f"grid_{at}"] = grid.numpy().reshape(14, 12 * prb).astype(np.complex64)
        out[f"grid_bits_{at}"] = sent.numpy().ravel().astype(np.uint8)
        out[f"grid_form_{at}"] = np.array([prb, index])
    np.savez_compressed(Path(__file__).with_name("sionna.npz"), **out)


if __name__ == "__main__":
    main()
