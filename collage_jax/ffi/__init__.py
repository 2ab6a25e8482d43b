"""How XLA comes to run code that is not its own: native modules, their calls, and several of these as one."""
