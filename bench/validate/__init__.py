"""Compare the simulator with published measurements, and write docs/validation.md.

silicon   3,619 measured (model, system, engine, lengths, concurrency) -> TTFT, TPOT; corrections are fitted here
logs      requests of real vLLM servers: calibrate on the first half, judge on the other half
mlperf    offline throughput
queues    waiting times against queueing theory
"""
