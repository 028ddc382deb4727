"""Where work comes from: a source yields work and learns when it is finished. Start at ``base``."""
