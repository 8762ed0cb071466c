"""The core of tidings, on which everything stands: values, ports, ids, limits, errors and time. No I/O."""
