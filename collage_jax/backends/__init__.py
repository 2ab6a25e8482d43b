"""What can run regions: the contract, the registry, and one module or folder per backend."""
