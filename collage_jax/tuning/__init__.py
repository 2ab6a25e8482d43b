"""From a problem to a placement: which stages run, in which order, and which whole programs are timed."""
