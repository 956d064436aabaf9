"""Other radios' counters, in the form in which those projects print them."""

import pytest

from aigrid.ran.adapters import ADAPTERS, follow
from aigrid.ran.adapters.aerial import Aerial
from aigrid.ran.adapters.oai import Oai
from aigrid.ran.adapters.srsran import SrsRan
from aigrid.ran.state import Page

SRSRAN = """\
2025-04-04T15:55:28.100200 [GNB     ] [I] Built in Release mode using commit 7e10e42fd3 on branch HEAD
2025-04-04T15:55:28.790681 [PHY     ] [W] [   10.19] Real-time failure in low-phy: PRACH request late for sector 0, slot 10.19 and start symbol 0.
2025-04-04T15:55:28.800652 [PHY     ] [W] [   11.18] Real-time failure in low-phy: Downlink data late for sector 0 and slot 11.18.
2025-04-04T15:55:29.057899 [RF      ] [W] Real-time failure in RF: late
2025-04-04T15:55:29.878460 [METRICS ] MAC cell pci=1 metrics: slots=[200.0, 300.0) nof_slots=2000 slot_duration=500usec nof_voluntary_context_switches=1 nof_involuntary_context_switches=261 wall_clock_latency=[avg=127usec max=533usec max_slot=132.16]
2025-04-04T15:55:29.878480 [METRICS ] Scheduler UE ue=0 pci=1 rnti=0x4601 metrics: cqi=15 dl_ri=1.0 dl_mcs=26 dl_brate=1.28Mbps dl_nof_ok=318 dl_nof_nok=20 dl_error_rate=5% pusch_snr_db=4.3 ul_mcs=11 ul_brate=1.35Mbps ul_nof_ok=100 ul_nof_nok=7
2025-04-04T15:55:29.878485 [METRICS ] Scheduler cell pci=2 metrics: nof_prbs=51 nof_dl_slots=1600 nof_ul_slots=400 pdsch_rbs_per_slot=1 pusch_rbs_per_slot=1
2025-04-04T15:55:29.878489 [METRICS ] Scheduler cell pci=1 metrics: total_dl_brate=1.4Gbps total_ul_brate=99Mbps nof_prbs=273 nof_dl_slots=1600 nof_ul_slots=400 error_indications=0 pdsch_rbs_per_slot=271 pusch_rbs_per_slot=251 pdschs_per_slot=3 puschs_per_slot=2 failed_pdcch=0 failed_uci=30 nof_ues=32 mean_latency=58usec max_latency=492usec max_latency_slot=814.16 latency_hist=[742, 1098, 150, 3, 3, 2, 1, 0, 0, 1]
2025-04-04T15:55:30.878460 [METRICS ] MAC cell pci=1 metrics: slots=[300.0, 400.0) nof_slots=2000 slot_duration=500usec nof_voluntary_context_switches=0
2025-04-04T15:55:30.878489 [METRICS ] Scheduler cell pci=1 metrics: total_dl_brate=0bps total_ul_brate=0bps nof_prbs=273 nof_dl_slots=1600 nof_ul_slots=400 nof_prach_preambles=0 error_indications=0 pdsch_rbs_per_slot=0 pusch_rbs_per_slot=0 pdschs_per_slot=0 puschs_per_slot=0 nof_ues=0 mean_latency=8usec max_latency=20usec max_latency_slot=n/a
"""
OAI = """\
[NR_MAC] Frame.Slot 896.0
UE RNTI 83f3 CU-UE-ID 1 in-sync PH 51 dB PCMAX 21 dBm, average RSRP -105 (16 meas)
UE 83f3: UL-RI 1, TPMI 0
UE 83f3: dlsch_rounds 1000/50/5/1, dlsch_errors 1, pucch0_DTX 6, BLER 0.09597 MCS (1) 19 CCE fail 20
UE 83f3: ulsch_rounds 500/10/2/0, ulsch_errors 2, ulsch_DTX 15, BLER 0.11375 MCS (1) 11 (Qm 6 deltaMCS 0 dB) NPRB 5 RBSTART 0 SNR 14.5 dB CCE fail 0
UE 83f3: MAC: TX 237391768 RX 6748296 bytes
[NR_MAC] Frame.Slot 0.0
UE 83f3: dlsch_rounds 1200/60/6/1, dlsch_errors 1, pucch0_DTX 6, BLER 0.09 MCS (1) 20 CCE fail 20
UE 83f3: ulsch_rounds 700/12/2/0, ulsch_errors 5, ulsch_DTX 15, BLER 0.11 MCS (1) 12 (Qm 6 deltaMCS 0 dB) NPRB 8 RBSTART 0 SNR 14.5 dB CCE fail 0
[NR_MAC] Frame.Slot 128.0
UE 83f3: dlsch_rounds 1300/60/6/1, dlsch_errors 1, pucch0_DTX 8 (SNR 21.8+1.8 dB), BLER 0.00159 MCS (0) 15 NPRB 53 CCE fail 6, goodput 22.33 Mbps
UE c723: ulsch_rounds 4/0/0/0, ulsch_DTX 100, ulsch_errors 0, BLER 0.92023 MCS 6
[NR_MAC] Frame.Slot 256.0
"""
AERIAL = """\
# HELP aerial_cuphycp_slots_total Aerial cuPHY-CP total number of processed Downlink slots
# TYPE aerial_cuphycp_slots_total counter
aerial_cuphycp_slots_total{{cell="0",direction="DL"}} {dl}
aerial_cuphycp_slots_total{{cell="0",direction="UL"}} {ul}
aerial_cuphycp_slots_total{{cell="1",direction="DL"}} 99999
aerial_cuphycp_pusch_rx_tb_total{{cell="0"}} {rx}
aerial_cuphycp_pusch_rx_tb_crc_error_total{{cell="0"}} {crc}
aerial_cuphy_pdsch_tx_tb_total{{cell="0"}} {tx}
aerial_cuphycp_on_time_uplane_rx_packets_total{{cell="0"}} 123456
aerial_cuphycp_late_uplane_rx_packets_total{{cell="0"}} {late}
aerial_cuphycp_slot_processing_duration_us_bucket{{cell="0",channel="pdsch",le="250"}} {fast}
aerial_cuphycp_slot_processing_duration_us_bucket{{cell="0",channel="pdsch",le="1250"}} {fast}
aerial_cuphycp_slot_processing_duration_us_bucket{{cell="0",channel="pdsch",le="+Inf"}} {all}
# EOF
"""


@pytest.fixture
def page(tmp_path):
    return Page(tmp_path / "page", create=True)


def test_srsran_lines(page):
    assert follow(SrsRan(1), SRSRAN.splitlines(), page) == 2
    state = page.read()
    assert state.slot == 4000
    assert state.slot_ns == 500_000
    assert state.cell_prb == 273
    assert state.downlink_missed == 2
    assert state.uplink_missed == 1
    assert state.downlink_prb_sum == 271 * 1600
    assert state.uplink_prb_sum == 251 * 400
    assert (state.downlink_mcs, state.uplink_mcs, state.bad_blocks) == (26, 11, 7)
    assert state.tick_late_max_ns == 492_000
    assert state.tick_late_ns == 20_000
    assert state.downlink_prb == 0
    assert set(state.recent_downlink_prb) == {0}
    assert state.on_time == pytest.approx(1 - 3 / 4000)
    assert not state.stale(10**12)


def test_srsran_takes_the_first_cell_that_reports(page):
    adapter = SrsRan()
    follow(adapter, SRSRAN.splitlines(), page)
    assert adapter.pci == 1


def test_oai_lines(page):
    reports = [report for line in OAI.splitlines() if (report := Oai(106).feed(line))]
    assert reports == []  # a new reader each line knows no beginning
    adapter = Oai(106)
    first, second, third = [report for line in OAI.splitlines() if (report := adapter.feed(line))]
    assert (first.slots, second.slots, third.slots) == (2560, 2560, 2560)
    assert first.downlink_sent == 1056
    assert second.downlink_sent == 211
    assert second.uplink_received == 202
    assert second.uplink_prb == pytest.approx(202 * 8 / 2560)
    assert second.downlink_prb == pytest.approx(211 * 106 / 2560), "unknown blocks are taken for the whole cell"
    assert third.downlink_prb == pytest.approx(100 * 53 / 2560)
    assert (second.downlink_mcs, second.uplink_mcs, second.bad_blocks) == (20, 12, 3)
    assert follow(Oai(106), OAI.splitlines(), page) == 3
    assert page.read().slot == 7680


def test_oai_device_that_comes_back_is_counted_anew():
    adapter = Oai(51)
    adapter.feed("[NR_MAC] Frame.Slot 0.0")
    adapter.feed("UE 1234: dlsch_rounds 500/0/0/0, dlsch_errors 0, BLER 0.1 MCS (0) 9")
    adapter.feed("[NR_MAC] Frame.Slot 128.0")
    adapter.feed("UE 1234: dlsch_rounds 7/0/0/0, dlsch_errors 0, BLER 0.1 MCS (0) 9")
    report = adapter.feed("[NR_MAC] Frame.Slot 256.0")
    assert report is not None
    assert report.downlink_sent == 7


def test_aerial_pages(page):
    one = AERIAL.format(dl=1000, ul=400, rx=50, crc=1, tx=800, late=3, fast=900, all=900)
    two = AERIAL.format(dl=3000, ul=900, rx=250, crc=4, tx=1800, late=5, fast=2890, all=2900)
    assert follow(Aerial(273, "0"), (one + two + two).splitlines(), page) == 1
    state = page.read()
    assert state.slot == 2000
    assert state.downlink_missed == 10
    assert state.downlink_done == 1990
    assert state.uplink_missed == 2
    assert state.bad_blocks == 3
    assert state.downlink_prb == round(273 * 0.5)
    assert state.uplink_prb == round(273 * 0.1)


@pytest.mark.parametrize("kind", sorted(ADAPTERS))
def test_nonsense_is_passed_over(kind, page):
    nonsense = ["", "\x00\xff", "x" * 100_000, "Frame.Slot 99999999999.0", "UE zz: dlsch_rounds 1/2", "aerial_x{ 1",
                "Scheduler cell pci=1 metrics: nof_prbs=n/a nof_dl_slots=0"]  # fmt: skip
    assert follow(ADAPTERS[kind](), nonsense, page) == 0
    assert page.read().slot == 0
