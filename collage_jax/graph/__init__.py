"""The program as data: nodes, graphs, regions, and how a jaxpr becomes one."""
