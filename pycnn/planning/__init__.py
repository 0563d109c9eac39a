"""From a graph to runnable plans: what kernels take, where values live, which kernel runs, in what memory."""
