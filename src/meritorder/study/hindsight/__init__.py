"""Schedules by the tick of the clock that know every request beforehand."""
