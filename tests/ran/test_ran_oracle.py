"""What Sionna, an independent implementation of the standards, makes of the same bits (vectors/make.py)."""

from pathlib import Path

import numpy as np
import pytest

from aigrid.ran.kernels import ofdm
from aigrid.ran.kernels.pdsch import encode_blocks, transmit_slot
from aigrid.ran.kernels.tables import IDENTITY, RNTI, scratch, tables
from aigrid.ran.kernels.transport import Format

VECTORS = np.load(Path(__file__).with_name("vectors") / "sionna.npz")
TABLES = {1: "64qam", 2: "256qam"}
SLOT = 3


def test_transport_block_sizes_are_the_oracles():
    assert len(VECTORS["sizes"]) == 570
    for table, mcs, prb, size in VECTORS["sizes"].tolist():
        assert Format(prb, mcs, TABLES[table]).size == size, (table, mcs, prb)


@pytest.mark.parametrize("at", range(10))
def test_coded_bits_are_the_oracles(at):
    """Checksums, segmentation, LDPC, rate matching, interleaving and scrambling, bit for bit."""
    prb, mcs, table, size = VECTORS[f"coded_form_{at}"].tolist()
    form = Format(prb, mcs, TABLES[table])
    assert (form.size, RNTI, IDENTITY) == (size, 0x4601, 1)
    fixed, memory = tables([form]), scratch()
    memory.bits[:size] = np.unpackbits(VECTORS[f"sent_{at}"])[:size]
    encode_blocks(fixed.formats[0], fixed, memory)
    mask = fixed.scrambling[form.bits // 2 - 1][: form.bits, : form.elements]
    coded = (memory.planes[: form.bits, : form.elements] ^ mask) & 1
    expected = np.unpackbits(VECTORS[f"coded_{at}"])[: form.coded]
    assert (coded.T.ravel() == expected).all()


@pytest.mark.parametrize("at", range(3))
def test_resource_grids_are_the_oracles(at):
    """Constellation, place of every symbol, reference signals and their power: the whole slot."""
    prb, mcs = VECTORS[f"grid_form_{at}"].tolist()
    form = Format(prb, mcs)
    fixed, memory = tables([form]), scratch()
    sent = VECTORS[f"grid_bits_{at}"]
    assert sent.size == form.size
    memory.bits[: form.size] = sent
    samples = np.zeros((ofdm.SAMPLES, 2), np.int16)
    transmit_slot(SLOT, fixed.formats[0], fixed, memory, samples, np.float32(1000))
    ofdm.receive(samples, np.float32(1 / 1000 / ofdm.POINTS), memory.work, fixed.roots, memory.grid, 12 * prb)
    got = memory.grid[0, :, : 12 * prb] + 1j * memory.grid[1, :, : 12 * prb]
    expected = VECTORS[f"grid_{at}"]
    scale = np.vdot(expected, got).real / np.vdot(expected, expected).real
    assert scale == pytest.approx(1.0, abs=0.01)
    assert np.abs(got / scale - expected).max() < 0.01
