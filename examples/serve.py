"""Export a network for several batch sizes, and serve it by HTTP. Needs `pip install '.[serve]'`.

python examples/serve.py export resnet50 -o resnet50.cjx --batch 1 --batch 4 --batch 8
python examples/serve.py run resnet50.cjx --beside-xla
python examples/serving/load.py --engine kernels --engine xla --seconds 60
"""

import logging
from collections.abc import Sequence

import click
import uvicorn
from networks import NETWORKS
from serving.app import app_of

import collage_jax


@click.group()
def main() -> None:
    """Export a network, and serve it."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")


@main.command()
@click.argument("network", type=click.Choice(list(NETWORKS)))
@click.option("-o", "--output", required=True)
@click.option("--batch", "batches", type=int, multiple=True, default=(1, 4, 8), show_default=True)
@click.option("--budget-s", type=float, default=60.0, show_default=True, help="Of tuning, for each batch size.")
def export(network: str, output: str, batches: Sequence[int], budget_s: float) -> None:
    """Tune NETWORK for each batch size and write one file."""
    it = NETWORKS[network]
    params = it.init()
    sets = [(params, it.input(batch)) for batch in batches]
    placed = collage_jax.jit(it.apply, frozen_argnums=0, budget_s=budget_s)
    exported = collage_jax.export(placed, *sets[0], also=sets[1:], path=output)
    for batch, placement in zip(batches, exported.placements, strict=True):
        click.echo(f"batch {batch}: {placement.speedup:.2f} times as fast as jax.jit, {placement.counts()}")
    click.echo(f"{output}: {exported.nbytes / 1e6:.0f} MB")


@main.command()
@click.argument("file")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
@click.option("--wait-ms", default=2.0, show_default=True, help="How long a batch waits for more samples.")
@click.option("--capacity", default=256, show_default=True, help="How many samples may wait.")
@click.option("--beside-xla", is_flag=True, help="Serve it as XLA alone runs it too: /predict?engine=xla")
def run(file: str, host: str, port: int, wait_ms: float, capacity: int, beside_xla: bool) -> None:
    """Serve FILE until interrupted or terminated; what was accepted by then is still answered."""
    engines = {"kernels": collage_jax.load(file)}
    if beside_xla:
        with collage_jax.disabled():
            engines["xla"] = collage_jax.load(file)
    app = app_of(engines, wait_ms / 1e3, capacity)
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=30)


if __name__ == "__main__":
    main()
