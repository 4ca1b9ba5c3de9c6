"""How a step is executed: ranks, physical batches, precision, compilation, clock."""
