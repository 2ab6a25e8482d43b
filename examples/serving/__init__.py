"""An inference server on a file that `collage_jax.export` wrote: `python examples/serve.py`.

batching   requests, one sample each, gathered to the batch sizes that were exported
app        the HTTP side: /predict, /healthz, /metrics
load       a bounded load on it, from this machine: `python examples/serving/load.py`
"""
