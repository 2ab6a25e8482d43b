"""``python -m collage_jax``."""

from .command_line import main

if __name__ == "__main__":
    main()
