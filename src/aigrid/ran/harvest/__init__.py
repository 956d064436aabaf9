"""The harvester: gives AI what the radio leaves idle, and nothing more.

`with Harvester(radio_page, meter_path) as harvester:` (harvester.py) looks at the radio's page ten times a second,
forecasts its need (forecast.py), decides what the engine may use (decide.py), sees to it (governor.py) and promises a
rate of tokens (promise.py). Beside it a compiled loop looks at every slot and halts the engine within one when lateness
grows (guard.py). `harvester.state()` says what it does; `compare.py` measures it beside simpler ways to share.
"""
