"""The cheapest way to serve a demand: what may wait, where it runs, how it is paid for, and the least it can cost."""
