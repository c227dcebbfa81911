from ssl_lightning.data.sampler import mix


def test_seeds_are_fixed_for_all_time():
    assert mix("step", 1, 0, 0) == 7466802570235439903
    assert mix("order", 1, 0) == 8101147296903225349


def test_neighbors_are_unrelated_and_fit_63_bits():
    seeds = [mix("step", seed, rank, step) for seed in range(10) for rank in range(10) for step in range(100)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    ones = [sum(seed >> bit & 1 for seed in seeds) / len(seeds) for bit in range(63)]
    assert all(0.48 < part < 0.52 for part in ones)
    assert mix("step", 1, 23, 4) != mix("step", 12, 3, 4)
