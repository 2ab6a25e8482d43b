"""What a backend must keep to, as tests that any author of one runs, with pytest or without::

    from collage_jax.testing import arguments, backend_contract, case

    TestMine = backend_contract(Mine(), [
        case(lambda x, w: jax.nn.relu(x @ w), x, w),
        case(jnp.dot, arguments=arguments("m k", "k n")),
    ])

``check_backend(Mine(), cases)`` makes the same checks in one call.
"""

from .case import Case as Case
from .case import case as case
from .contract import BackendContract as BackendContract
from .contract import backend_contract as backend_contract
from .contract import check_backend as check_backend
from .effort import Effort as Effort
from .findings import ContractViolation as ContractViolation
from .findings import Report as Report
from .findings import Violation as Violation
from .strategies import arguments as arguments
