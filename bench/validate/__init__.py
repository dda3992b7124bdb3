"""Compare the simulator with published measurements, and write docs/validation.md.

silicon   3,619 measured (model, system, engine, lengths, concurrency) -> TTFT, TPOT; corrections are fitted here
logs      requests of real vLLM servers: calibrate on the first half, judge on the other half
left_out  which corrections help models that they were not fitted to
mlperf    offline throughput
published throughputs of saturated servers, which no fit has seen; intervals of dollars, by source left out
queues    waiting times against queueing theory
"""
