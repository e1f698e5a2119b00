"""Real engines for the tests: started once per run, shared by all workers, ended with the run."""
