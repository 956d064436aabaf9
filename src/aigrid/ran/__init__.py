"""A radio with deadlines on an ordinary computer, and what shares the computer with it.

Starting one: `with Radio(Plan(trace=..., seconds=10)) as radio:` (radio.py) runs `python -m aigrid.ran.process` in a
process of its own and returns when its first slot is due; leaving the block, or `radio.stop()`, ends it within 20 ms.
`radio.wait()` waits for the end of `seconds` and returns a `Summary`; `radio.alive` says whether it still runs.
A `Plan` takes a `Trace` by file (trace.py) or by generator (generate.py), the number of the processor to stay on, and
`real_time=False` for the ordinary scheduling class. `Plan(empty=True)` is the control: the same slots
and deadlines without the work, the machine's own floor.

Watching one, from any process and at any rate: `Page(path).read()` (state.py) returns a `RadioState`, at one
consistent moment, of at most one slot ago: `slot`, `cell_prb`, `downlink_prb`, `uplink_prb`, `tick_late_ns` (how late
the newest tick was served), `pending` (uplink slots waiting), `work_ns` (processor time of the newest slot) and `cpu_ns`
(all), `downlink_done`/`downlink_missed`, `uplink_done`/`uplink_missed`, `dropped` (part of the missed), `overruns` (slots
whose work was not done when the next began: the first sign of trouble), the three histograms, and `recent_work_ns` /
`recent_downlink_prb` / `recent_uplink_prb` of the last 1,024 slots. `radio.page` is the path. A radio that died
leaves `phase` at RUNNING with an old `updated_ns`: `state.stale(after_ns)` says so.
Another vendor's radio speaks through `aigrid.ran.adapters`, which write the same page.
"""
