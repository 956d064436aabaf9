"""From bits to samples and back: what the transmitter sends, the receiver hears, and errors do not pass unseen."""

import numpy as np
import pytest

from aigrid.core.errors import BadRequest
from aigrid.ran import waves
from aigrid.ran.kernels import crc, ofdm, qam
from aigrid.ran.kernels.pusch import ROUNDS, receive_slot
from aigrid.ran.kernels.scramble import gold
from aigrid.ran.kernels.tables import scratch, tables
from aigrid.ran.kernels.transport import MCS, SMALL_SIZES, Format

FORMATS = [Format(prb, mcs) for prb in (4, 24, 51) for mcs in (0, 4, 5, 10, 11, 19, 20, 27)]


def padded(bits):
    """A vector is read where a message ends."""
    return np.concatenate([bits, np.ones(64)]).astype(np.int8)


@pytest.mark.parametrize(("name", "expected"), [("24a", 0xCDE703), ("24b", 0x23EF52), ("16", 0x31C3)])
def test_checksums_of_the_usual_check_message(name, expected):
    """The catalogue's check values: CRC-24/LTE-A, CRC-24/LTE-B and CRC-16/XMODEM of "123456789"."""
    bits = padded(np.unpackbits(np.frombuffer(b"123456789", np.uint8)))
    assert crc.reference(bits[:72], name) == expected
    at = list(crc.POLYNOMIALS).index(name)
    assert crc.checksum(bits, 0, 72, crc.TABLES[at], int(crc.WIDTHS[at])) == expected


@pytest.mark.parametrize("count", [1, 7, 8, 31, 32, 33, 100, 1000, 8424])
def test_fast_checksum_is_the_bitwise_one(count):
    bits = padded(np.random.default_rng(count).integers(0, 2, count + 5))
    for at, name in enumerate(crc.POLYNOMIALS):
        fast = crc.checksum(bits, 5, count, crc.TABLES[at], int(crc.WIDTHS[at]))
        assert fast == crc.reference(bits[5 : 5 + count], name)


def test_gold_sequence_is_the_standards_recursion():
    start, count = 0x1234567, 300
    one, two = [1] + [0] * 30, [(start >> bit) & 1 for bit in range(31)]
    for at in range(1600 + count):
        one.append(one[at + 3] ^ one[at])
        two.append(two[at + 3] ^ two[at + 2] ^ two[at + 1] ^ two[at])
    assert gold(start, count).tolist() == [a ^ b for a, b in zip(one[1600:], two[1600:], strict=True)][:count]


def test_transform_is_the_fourier_transform():
    random = np.random.default_rng(0)
    re, im = random.normal(size=(2, ofdm.POINTS, ofdm.LANES)).astype(np.float32)
    work = np.zeros((4, ofdm.POINTS * ofdm.LANES), np.float32)
    work[0], work[1] = re.ravel(), im.ravel()
    ofdm.transform(work[0], work[1], work[2], work[3], ofdm.twiddles())
    got = (work[2] + 1j * work[3]).reshape(ofdm.POINTS, ofdm.LANES)
    expected = np.fft.fft(re + 1j * im, axis=0)
    assert np.abs(got - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_demapping_is_exact_max_log(bits):
    """Compare with distances to every point of the constellation."""
    random = np.random.default_rng(bits)
    every = ((np.arange(1 << bits)[:, None] >> np.arange(bits)) & 1).astype(np.int8).T.copy()
    re, im = np.zeros((2, 1 << bits), np.float32)
    none = np.zeros((bits, 1 << bits), np.int8)
    qam.modulate(every, none, bits, 1 << bits, re, im)
    points = re + 1j * im
    assert np.mean(np.abs(points) ** 2) == pytest.approx(1.0, abs=1e-5)
    assert len(set(np.round(points, 4))) == 1 << bits

    heard = (random.normal(size=200) + 1j * random.normal(size=200)).astype(np.complex64)
    quality = random.uniform(1, 8, 200).astype(np.float32)
    planes = np.zeros((bits, 200), np.int8)
    mask = -random.integers(0, 2, (bits, 200)).astype(np.int8)
    qam.demodulate(heard.real.copy(), heard.imag.copy(), quality, mask, bits, 200, planes)
    distance = np.abs(heard[:, None] - points[None]) ** 2
    for bit in range(bits):
        ratio = distance[:, every[bit] == 1].min(axis=1) - distance[:, every[bit] == 0].min(axis=1)
        expected = np.clip(ratio * quality * qam.LLR_SCALE, -qam.LARGEST_LLR, qam.LARGEST_LLR)
        expected = np.where(mask[bit] < 0, -expected, expected)
        assert np.abs(planes[bit] - expected).max() <= 0.51


@pytest.fixture(scope="module")
def radio():
    return tables(FORMATS), scratch()


@pytest.mark.parametrize("at", range(len(FORMATS)), ids=[f"{form.prb}prb-mcs{form.mcs}" for form in FORMATS])
def test_what_is_sent_is_received(radio, at):
    """Through echoes and noise, at 5 dB above what Shannon needs."""
    fixed, memory = radio
    form, random = FORMATS[at], np.random.default_rng(at)
    bits = random.integers(0, 2, form.size).astype(np.int8)
    heard, scale = waves.wave(form, fixed.formats[at], fixed, memory, bits, at)
    memory.bits[:] = 0
    good, bad, rounds = receive_slot(heard, np.float32(scale), 0, fixed.formats[at], fixed, memory, ROUNDS)
    assert good
    assert bad == 0
    assert form.blocks <= rounds <= form.blocks * ROUNDS
    assert (memory.bits[: form.size] == bits).all()


def test_noise_alone_is_never_a_good_block(radio):
    fixed, memory = radio
    random = np.random.default_rng(1)
    for at, form in enumerate(FORMATS):
        noise = random.normal(scale=500, size=(ofdm.SAMPLES, 2)).astype(np.int16)
        good, bad, _ = receive_slot(noise, np.float32(1e-5), 0, fixed.formats[at], fixed, memory, 2)
        assert not good, form
        assert bad > 0


@pytest.mark.parametrize("version", [1, 2, 3])
def test_other_redundancy_versions_are_received(version):
    """At a rate so low that the whole circular buffer is sent, every version can be decoded alone."""
    form = Format(24, 0, version=version)
    fixed, memory = tables([form]), scratch()
    bits = np.random.default_rng(version).integers(0, 2, form.size).astype(np.int8)
    heard, scale = waves.wave(form, fixed.formats[0], fixed, memory, bits, 0)
    memory.bits[:] = 0
    assert receive_slot(heard, np.float32(scale), 0, fixed.formats[0], fixed, memory, 12)[0]
    assert (memory.bits[: form.size] == bits).all()


def test_formats_are_those_of_the_standard():
    assert [len(table) for table in MCS.values()] == [29, 28]
    assert len(SMALL_SIZES) == 93
    assert max(Format(51, mcs).size for mcs in range(28)) == 54_296
    for form in FORMATS:
        assert sum(form.shares) == form.coded
        assert form.payload <= form.information
    with pytest.raises(BadRequest, match="52 resource blocks"):
        Format(52, 0)
    with pytest.raises(BadRequest, match="MCS 28"):
        Format(1, 28)
