"""What a trace costs in real time, in batch and as a mix; and sweeps over assumptions."""
