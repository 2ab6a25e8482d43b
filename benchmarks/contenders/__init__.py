"""What `peers.py` and `train.py` compare: a function per contender and task, each run in a process of its own."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Contender:
    """`build` names a function `module:name` of this package, `train` one for a training step; "" for none.

    `requires` is what must be importable for them.
    """

    title: str
    build: str
    requires: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    train: str = ""

    def task(self, trains: bool) -> str:
        """The function's name."""
        return self.train if trains else self.build


OURS = "collage_jax"
LIMIT = "limit"

CONTENDERS: dict[str, Contender] = {
    "jax": Contender("jax.jit", "jax_programs:plain", train="jax_training:plain"),
    "jax-onednn": Contender(
        "jax.jit with XLA's oneDNN",
        "jax_programs:plain",
        environment={"XLA_FLAGS": "--xla_cpu_experimental_onednn_custom_call=true --xla_cpu_use_onednn=true"},
    ),
    "torch": Contender("PyTorch eager", "torch_programs:eager", ("torch",), train="torch_training:eager"),
    "inductor": Contender("torch.compile", "torch_programs:inductor", ("torch",), train="torch_training:inductor"),
    "onnxruntime": Contender(
        "ONNX Runtime", "onnxruntime_program:session", ("torch", "onnx", "onnxscript", "onnxruntime")
    ),
    "openvino": Contender("OpenVINO", "openvino_program:compiled", ("torch", "openvino")),
    OURS: Contender("collage_jax.jit", "jax_programs:placed", train="jax_training:placed"),
    # Not a contender: the machine's own speed, measured in the same rounds.
    LIMIT: Contender("product of 2048x2048 matrices", "limit:product", ("torch",), train="limit:product"),
}
