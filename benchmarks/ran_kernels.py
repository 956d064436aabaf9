"""The radio's kernels: microseconds a step, LDPC beside a naive and a C decoder, and what a slot costs of one core.

All decoders get the same noisy code block of 8,448 bits (base graph 1, Z = 384) and the same number of rounds; their
outputs are compared before they are timed. The C decoder is int8 layered min-sum as well, compiled here with the best
flags of the compiler that is there.
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aigrid.ran import waves
from aigrid.ran.kernels import channel, ofdm, pusch, qam
from aigrid.ran.kernels.encode import encode
from aigrid.ran.kernels.graphs import INFORMATION, Code
from aigrid.ran.kernels.ldpc import decode
from aigrid.ran.kernels.pdsch import transmit_slot
from aigrid.ran.kernels.pusch import receive_slot
from aigrid.ran.kernels.tables import scratch, tables
from aigrid.ran.kernels.transport import Format
from benchmarks.common import arguments, log, report, spread

ROUNDS = 8
SLOT_US = 500.0
RATES = ((0.88, 5), (0.5, 24), (1 / 3, 46))
"""Code rate and rows of the base graph that it needs."""
SHAPES = ((24, 10), (24, 20), (51, 5), (51, 10), (51, 20), (51, 27))
C = r"""
#include <stdint.h>
#include <string.h>
/* Layered normalised min-sum in int8; columns in place, a rotation in two pieces. */
static inline int8_t sat(int v) { return v > 127 ? 127 : v < -128 ? -128 : v; }
int decode(int8_t *values, int8_t *messages, const int *column, const int *shift, const int *start,
           int rows, int z, int rounds) {
    static int8_t kept[20][384], least[384], second[384], sign[384], turned[384];
    memset(messages, 0, (size_t)start[rows] * z);
    for (int turn = 0; turn < rounds; turn++) {
        for (int row = 0; row < rows; row++) {
            memset(least, 127, z); memset(second, 127, z); memset(sign, 0, z);
            for (int edge = start[row]; edge < start[row + 1]; edge++) {
                int8_t *t = kept[edge - start[row]], *c = values + column[edge] * z, *m = messages + edge * z;
                memcpy(turned, c + shift[edge], z - shift[edge]);
                memcpy(turned + z - shift[edge], c, shift[edge]);
                for (int i = 0; i < z; i++) {
                    int8_t v = sat(turned[i] - m[i]), a = sat(v < 0 ? -v : v);
                    t[i] = v;
                    int8_t big = least[i] > a ? least[i] : a;
                    second[i] = second[i] < big ? second[i] : big;
                    least[i] = least[i] < a ? least[i] : a;
                    sign[i] ^= v;
                }
            }
            for (int edge = start[row]; edge < start[row + 1]; edge++) {
                int8_t *t = kept[edge - start[row]], *c = values + column[edge] * z, *m = messages + edge * z;
                for (int i = 0; i < z; i++) {
                    int8_t v = t[i], a = sat(v < 0 ? -v : v), s = a == least[i] ? second[i] : least[i];
                    s = s - (int8_t)((uint8_t)s >> 2);
                    int8_t g = (int8_t)(sign[i] ^ v) < 0 ? -s : s;
                    m[i] = g;
                    turned[i] = sat(v + g);
                }
                memcpy(c + shift[edge], turned, z - shift[edge]);
                memcpy(c, turned + z - shift[edge], shift[edge]);
            }
        }
        int bad = 0;
        for (int row = 0; row < rows && !bad; row++) {
            memset(sign, 0, z);
            for (int edge = start[row]; edge < start[row + 1]; edge++) {
                int8_t *c = values + column[edge] * z;
                for (int i = 0; i < z - shift[edge]; i++) sign[i] ^= c[i + shift[edge]];
                for (int i = z - shift[edge]; i < z; i++) sign[i] ^= c[i + shift[edge] - z];
            }
            for (int i = 0; i < z; i++) bad |= sign[i] < 0;
        }
        if (!bad) return turn + 1;
    }
    return -rounds;
}
"""


def timed(work: Callable[[], Any], before: Callable[[], Any] | None = None, times: int = 200) -> dict[str, float]:
    """Return microseconds of `work`, without what `before` prepares."""
    found = []
    for _ in range(times):
        if before:
            before()
        begin = time.perf_counter_ns()
        work()
        found.append((time.perf_counter_ns() - begin) / 1000)
    return spread(found)


def block(code: Code, rows: int, noise: float) -> tuple[Any, Any]:
    """Return a code word of random bits and what is heard of it, as int8."""
    random, kb = np.random.default_rng(rows), INFORMATION[code.graph]
    bits = random.integers(0, 2, kb * code.z).astype(np.int8)
    values = np.zeros((kb + rows) * code.stride + 64, np.int8)
    for at in range(kb):
        values[at * code.stride : at * code.stride + 2 * code.z] = np.tile(bits[at * code.z : (at + 1) * code.z], 2)
    plan = code.schedule(rows)
    shift = np.array([shift for row, _, shift in code.edges if row < rows], np.int64)
    encode(values, np.zeros(3 * code.lanes + 64, np.int8), plan.start, plan.base, shift, rows, code.z, code.lanes,
           code.stride, kb)  # fmt: skip
    word = np.concatenate([values[at * code.stride : at * code.stride + code.z] for at in range(kb + rows)])
    heard = np.clip(np.rint((1 - 2.0 * word + random.normal(scale=noise, size=word.size)) * 14), -60, 60)
    heard[: 2 * code.z] = 0
    return word, heard.astype(np.int8)


def compiled() -> Callable[..., int] | None:
    """Return the C decoder, None where no compiler is."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "peer.c", Path(folder) / "peer.so"
        source.write_text(C)
        subprocess.check_call([compiler, "-O3", "-march=native", "-shared", "-fPIC", str(source), "-o", str(library)])
        peer: Callable[..., int] = ctypes.CDLL(str(library)).decode
    return peer


def naive(values: Any, code: Code, rows: int, rounds: int) -> int:
    """The same algorithm in NumPy, row by row and neighbour by neighbour, in wide integers."""
    z = code.z
    total = values.reshape(-1, z).astype(np.int64)
    layers = [[edge for edge in code.edges if edge[0] == row] for row in range(rows)]
    messages = {edge: np.zeros(z, np.int64) for layer in layers for edge in layer}
    for turn in range(rounds):
        for layer in layers:
            inputs = [np.clip(np.roll(total[column], -shift) - messages[row, column, shift], -128, 127)
                      for row, column, shift in layer]  # fmt: skip
            sizes = np.sort(np.minimum(127, np.abs(inputs)), axis=0)
            sign = np.bitwise_xor.reduce([value < 0 for value in inputs])
            for edge, value in zip(layer, inputs, strict=True):
                least = np.where(np.minimum(127, np.abs(value)) == sizes[0], sizes[1], sizes[0])
                message = (least - (least >> 2)) * np.where(sign ^ (value < 0), -1, 1)
                messages[edge] = message
                total[edge[1]] = np.roll(np.clip(value + message, -128, 127), edge[2])
        parity = [np.bitwise_xor.reduce([np.roll(total[c] < 0, -s) for _, c, s in layer]) for layer in layers]
        if not np.any(parity):
            values[:] = total.ravel().astype(np.int8)
            return turn + 1
    values[:] = total.ravel().astype(np.int8)
    return -rounds


def ldpc(peer: Callable[..., int] | None) -> dict[str, Any]:
    """Time the decoders on blocks of 8,448 bits at three rates."""
    code, found = Code(1, 384), {}
    pointer = ctypes.POINTER(ctypes.c_int8)
    for (rate, rows), noise in zip(RATES, (0.38, 0.72, 0.92), strict=True):
        word, heard = block(code, rows, noise)
        plan, columns = code.schedule(rows), INFORMATION[1] + rows
        fresh = np.zeros(columns * code.stride + 64, np.int8)
        for at in range(columns):
            fresh[at * code.stride : at * code.stride + 768] = np.tile(heard[at * 384 : (at + 1) * 384], 2)
        values, count = fresh.copy(), len(plan.base)
        messages, kept, row = (np.zeros(size, np.int8) for size in (count * 384 + 64, 20 * 384, 3 * 384))

        def ours(
            values: Any = values, messages: Any = messages, kept: Any = kept, row: Any = row, plan: Any = plan,
            rows: int = rows,
        ) -> int:  # fmt: skip
            return int(decode(values, messages, kept, row, plan.start, plan.base, plan.turns, rows, 384, 384, ROUNDS))

        def again(values: Any = values, fresh: Any = fresh) -> None:
            values[:] = fresh

        took = ours()
        bits = np.concatenate([
            values[at * code.stride + plan.home[at] : at * code.stride + plan.home[at] + 384] for at in range(22)
        ])  # fmt: skip
        assert took > 0
        assert ((bits < 0) == word[: 22 * 384]).all(), "the decoder did not decode"
        entry: dict[str, Any] = {"rounds": took, "ours_us": timed(ours, again)}
        slow = heard.copy()
        assert naive(slow, code, rows, ROUNDS) == took
        assert (slow[: 22 * 384] == bits).all(), "the naive decoder says something else"
        entry["naive_us"] = timed(lambda heard=heard, rows=rows: naive(heard.copy(), code, rows, ROUNDS), times=5)
        if peer:
            edges = [edge for edge in code.edges if edge[0] < rows]
            column, shift, start = (
                np.array(values, np.int32)
                for values in ([edge[1] for edge in edges], [edge[2] for edge in edges], plan.start)
            )
            other, memory = heard.copy(), np.zeros(count * 384, np.int8)
            args = (
                *(array.ctypes.data_as(pointer) for array in (other, memory)),
                *(array.ctypes.data_as(ctypes.POINTER(ctypes.c_int)) for array in (column, shift, start)),
                rows, 384, ROUNDS,
            )  # fmt: skip
            assert peer(*args) == took
            assert (other[: 22 * 384] == bits).all(), "the C decoder says something else"

            def renew(other: Any = other, heard: Any = heard) -> None:
                other[:] = heard

            entry["c_us"] = timed(lambda args=args: peer(*args), renew)
        entry["gbit_s"] = round(8448 / entry["ours_us"]["median"] / 1000, 3)
        found[f"rate {rate:.2f}"] = entry
    return found


def steps() -> dict[str, Any]:
    """Time the steps of a slot of 51 blocks at 256QAM."""
    form = Format(51, 20)
    fixed, memory = tables([form]), scratch()
    bits = np.random.default_rng(0).integers(0, 2, form.size).astype(np.int8)
    heard, scale = waves.wave(form, fixed.formats[0], fixed, memory, bits, 0)
    row, wide = fixed.formats[0], 612
    re, im, quality = memory.symbols[0], memory.symbols[1], memory.symbols[2]
    ofdm.receive(heard, np.float32(scale), memory.work, fixed.roots, memory.grid, wide)
    noise = channel.estimate(memory.grid, fixed.reference[0], wide, memory.raw, memory.channel)

    def equalise() -> None:
        channel.equalise(memory.grid, memory.channel, noise, wide, re, im, quality)

    def demap() -> None:
        qam.demodulate(re, im, quality, fixed.scrambling[3], 8, form.elements, memory.planes)

    def both() -> None:
        equalise()
        demap()

    work: dict[str, tuple[Callable[[], Any], Callable[[], Any] | None]] = {
        "OFDM receive (FFT)": (
            lambda: ofdm.receive(heard, np.float32(scale), memory.work, fixed.roots, memory.grid, wide), None
        ),
        "channel estimate": (
            lambda: channel.estimate(memory.grid, fixed.reference[0], wide, memory.raw, memory.channel), None
        ),
        "equalise": (equalise, None),
        "demap 256QAM": (demap, equalise),
        "rate matching, LDPC, CRC": (lambda: pusch.decode_blocks(row, fixed, memory, ROUNDS), both),
    }  # fmt: skip
    for name, (step, before) in work.items():
        (before or step)()
        if (said := step()) and name.endswith("CRC"):
            assert said[0], "the slot was not received"
    return {name: timed(step, before) for name, (step, before) in work.items()}


def slots() -> dict[str, Any]:
    """Time whole slots of several shapes."""
    forms = [Format(prb, mcs) for prb, mcs in SHAPES]
    fixed, memory = tables(forms), scratch()
    found = {}
    for at, form in enumerate(forms):
        bits = np.random.default_rng(at).integers(0, 2, form.size).astype(np.int8)
        heard, scale = waves.wave(form, fixed.formats[at], fixed, memory, bits, at)
        samples = np.zeros((ofdm.SAMPLES, 2), np.int16)

        def give(bits: Any = bits, size: int = form.size) -> None:
            memory.bits[:size] = bits

        def receive(heard: Any = heard, scale: float = scale, row: Any = fixed.formats[at]) -> Any:
            return receive_slot(heard, np.float32(scale), 0, row, fixed, memory, ROUNDS)

        def send(row: Any = fixed.formats[at], samples: Any = samples) -> None:
            transmit_slot(0, row, fixed, memory, samples, np.float32(40))

        good, _, rounds = receive()
        assert good, f"{form} was not received"
        give()
        send()
        up, down = timed(receive), timed(send, give)
        found[f"{form.prb} PRB MCS {form.mcs}"] = {
            "bits": form.size, "code_blocks": form.blocks, "rounds": int(rounds), "uplink_us": up, "downlink_us": down,
            "tdd_share_of_core": round((up["median"] + 3 * down["median"]) / (5 * SLOT_US), 4),
        }  # fmt: skip
    return found


def main() -> None:
    """Measure everything, pinned to one processor."""
    args = arguments(__doc__ or "").parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    peer = compiled()
    log("decoders …")
    decoders = ldpc(peer)
    log("steps and slots …")
    parts, whole = steps(), slots()
    rows = []
    for rate, entry in decoders.items():
        mine = entry["ours_us"]["median"]
        if peer:
            rows.append({"what": f"LDPC, 8,448 bits, {rate}, {entry['rounds']} rounds: µs, beside int8 C",
                         "ours": mine, "peer": entry["c_us"]["median"], "ratio": entry["c_us"]["median"] / mine})  # fmt: skip
        rows.append({"what": f"the same, beside NumPy ({entry['gbit_s']} Gbit/s)",
                     "ours": mine, "peer": entry["naive_us"]["median"], "ratio": entry["naive_us"]["median"] / mine})  # fmt: skip
    rows += [{"what": f"{name}, 51 PRB: µs", "ours": value["median"]} for name, value in parts.items()]
    for name, entry in whole.items():
        rows.append({"what": f"PUSCH slot, {name}: µs of 500", "ours": entry["uplink_us"]["median"]})
        rows.append({"what": f"PDSCH slot, {name}: µs of 500", "ours": entry["downlink_us"]["median"]})
        rows.append({"what": f"TDD (3 down, 1 up of 5), {name}: share of a core", "ours": entry["tdd_share_of_core"]})
    holds = {
        "an LDPC block of 8,448 bits takes at most twice what int8 C takes, at every rate": all(
            "c_us" not in entry or entry["ours_us"]["median"] <= 2 * entry["c_us"]["median"]
            for entry in decoders.values()
        ),
        "an LDPC block of 8,448 bits takes less than 326 µs, at every rate": all(
            entry["ours_us"]["median"] < 326 for entry in decoders.values()
        ),
        "a full slot of every shape takes less than 500 µs": all(
            entry[way]["median"] < SLOT_US for entry in whole.values() for way in ("uplink_us", "downlink_us")
        ),
    }
    figures = {"ldpc": decoders, "steps_us": parts, "slots": whole}
    report({"figures": figures, "table": rows, "peer": {"name": "int8 C (gcc -O3 -march=native)"} if peer else {},
            "holds": holds}, args.json)  # fmt: skip


if __name__ == "__main__":
    main()
