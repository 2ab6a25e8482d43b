"""What `peers.py` compares: one function per contender, each run in a process of its own."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Contender:
    """`build` names a function `module:name` of this package; `requires` what must be importable for it."""

    title: str
    build: str
    requires: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


OURS = "collage_jax"
LIMIT = "limit"

CONTENDERS: dict[str, Contender] = {
    "jax": Contender("jax.jit", "jax_programs:plain"),
    "jax-onednn": Contender(
        "jax.jit with XLA's oneDNN",
        "jax_programs:plain",
        environment={"XLA_FLAGS": "--xla_cpu_experimental_onednn_custom_call=true --xla_cpu_use_onednn=true"},
    ),
    "torch": Contender("PyTorch eager", "torch_programs:eager", ("torch",)),
    "inductor": Contender("torch.compile, frozen", "torch_programs:inductor", ("torch",)),
    "onnxruntime": Contender(
        "ONNX Runtime", "onnxruntime_program:session", ("torch", "onnx", "onnxscript", "onnxruntime")
    ),
    "openvino": Contender("OpenVINO", "openvino_program:compiled", ("torch", "openvino")),
    OURS: Contender("collage_jax.jit", "jax_programs:placed"),
    # Not a contender: the machine's own speed, measured in the same rounds.
    LIMIT: Contender("product of 2048x2048 matrices (MKL)", "torch_programs:product", ("torch",)),
}
