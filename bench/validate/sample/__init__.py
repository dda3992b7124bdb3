"""The silicon sample in aiconfigurator-core: its rows, what they leave unsaid, and a closed loop like theirs."""
