"""One step of gradient descent: the library against `jax.jit` and PyTorch on this CPU.

    pip install '.[bench]'
    python benchmarks/train.py                             # six networks, batch 4: about an hour
    python benchmarks/train.py bert dcgan --json results.json

As `peers.py` does it: processes in turn, ratios within rounds. A step takes `jax.jit` up to minutes: where it is longer
than 10 s, a contender takes part in the first round alone. What is compared between contenders is the loss and the
length of each weight's gradient.
"""

from peers import main

if __name__ == "__main__":
    main(__doc__, batches=(4,), trains=True)
