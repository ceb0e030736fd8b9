"""The demo, `make demo`: it tells its story with the three commands that the package installs, and prints each one."""
